"""Plain text from the articles of a MediaWiki dump: enough of its markup goes that a language model reads prose.

Nothing is kept of templates, tables, footnotes, lists and pictures; links leave their words. Source: "Help:Wikitext".
"""

from __future__ import annotations

import bz2
import html
import re
from collections.abc import Iterator
from pathlib import Path

ARTICLE = re.compile(r"<text[^>]*>(.*?)</text>", re.S)
SOURCE_CHARACTERS, CHARACTERS = 5000, (3000, 12_000)
"""Articles shorter than this in the dump are skipped, as are those that leave less than 3000; the rest is cut."""
NESTED = 4
"""Templates in templates."""

STEPS = [
    *[(re.compile(r"\{\{[^{}]*\}\}"), "")] * NESTED,
    (re.compile(r"\{\|.*?\|\}", re.S), ""),  # tables
    (re.compile(r"<ref[^>]*/>"), ""),
    (re.compile(r"<ref.*?</ref>", re.S), ""),
    (re.compile(r"<[^>]+>"), ""),
    (re.compile(r"\[\[(?:File|Image|Category):[^\[\]]*(?:\[\[[^\]]*\]\][^\[\]]*)*\]\]"), ""),
    (re.compile(r"\[\[(?:[^|\]]*\|)?([^\]]*)\]\]"), r"\1"),
    (re.compile(r"\[http\S+ ?([^\]]*)\]"), r"\1"),
    (re.compile(r"'{2,}"), ""),
    (re.compile(r"=+ *([^=\n]+?) *=+"), r"\1"),  # headings
    (re.compile(r"^[*#:;|!].*$", re.M), ""),
    (re.compile(r"\n{2,}"), "\n\n"),
]
"""In this order: what to look for, and what comes in its place."""


def articles(dump: Path) -> Iterator[str]:
    """The longer articles of a bzip2-compressed XML dump, as plain text."""
    with bz2.open(dump, "rt", encoding="utf-8") as file:
        markup = file.read()
    for found in ARTICLE.finditer(markup):
        text = html.unescape(found[1])
        if text.startswith("#REDIRECT") or len(text) < SOURCE_CHARACTERS:
            continue
        text = plain(text)
        if len(text) > CHARACTERS[0]:
            yield text[: CHARACTERS[1]]


def plain(markup: str) -> str:
    """`markup` without its markup."""
    for pattern, replacement in STEPS:
        markup = pattern.sub(replacement, markup)
    return markup.strip()
