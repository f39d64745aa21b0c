"""Markup of encyclopedia articles goes, prose stays."""

from __future__ import annotations

import bz2
from pathlib import Path

import pytest

from edgert.assets.wikitext import articles, plain


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("An '''[[albedo]]''' is a [[Measure (physics)|measure]].", "An albedo is a measure."),
        ("a {{cite|{{nested|x}}}}b", "a b"),
        ("a {| class=x\n| cell\n|}b", "a b"),
        ('a<ref name="x"/> b<ref>c</ref> d<br>', "a b d"),
        ("[[File:a.jpg|thumb|of [[b]] here]]text", "text"),
        ("see [http://x.org the site]", "see the site"),
        ("== Head ==\nbody", "Head\nbody"),
        ("one\n\n\n\ntwo\n* item\n", "one\n\ntwo"),
    ],
)
def test_markup(markup: str, text: str) -> None:
    assert plain(markup) == text


def test_articles(tmp_path: Path) -> None:
    """Redirects and stubs are skipped, long ones cut, entities resolved."""
    long, short = "Prose &amp; more. " * 1000, "stub"
    pages = [short, "#REDIRECT " + long, long, "{{" + "x" * 6000 + "}}"]
    dump = tmp_path / "dump.bz2"
    dump.write_bytes(bz2.compress("".join(f'<text xml:space="preserve">{p}</text>' for p in pages).encode()))
    (found,) = articles(dump)
    assert len(found) == 12_000
    assert found.startswith("Prose & more. Prose")
