"""The vocabulary of a Hugging Face folder: its tokenizer.json, and what the files beside it say of special tokens.
What the rules in tokenizer.json mean is left to the `tokenizers` library that runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgert.converters.llm.settings import Settings, parse_settings
from edgert.converters.llm.vocabulary import END_TOKENS, Vocabulary
from edgert.errors import FormatError, UnsupportedError

MAX_TEXT = 64 << 20
"""Characters of a tokenizer.json; the largest have 35 million."""

MAX_TOKENS = 1 << 20
"""Four times the largest vocabularies there are."""


def huggingface_vocabulary(text: Callable[[str], str | None], path: Path) -> Vocabulary:
    """The vocabulary of the folder `path`; `text(name)` is the file `name` in it, None if there is none.

    Raises FormatError if a file is missing or damaged, UnsupportedError if there is no tokenizer.json but another
    form of vocabulary.
    """
    source = text("tokenizer.json")
    if source is None:
        others = [
            name for name in ("tokenizer.model", "vocab.txt", "vocab.json", "tekken.json") if text(name) is not None
        ]
        if others:
            raise UnsupportedError(
                f"{path}: expected tokenizer.json, found {', '.join(others)} only; write one with "
                "transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
            )
        raise FormatError(path, None, "tokenizer.json", "none", "copy it from where the model was published")
    if len(source) > MAX_TEXT:
        raise FormatError(path, None, f"a tokenizer.json of at most {MAX_TEXT} characters", str(len(source)))
    whole = parse_settings(source, path)
    ids = _ids(whole)
    config = _optional(text, "tokenizer_config.json", path)
    shared = _optional(text, "special_tokens_map.json", path)
    generation = _optional(text, "generation_config.json", path)
    model = _optional(text, "config.json", path)

    def named(key: str) -> int:
        """The id of the token that the configuration calls `key`, such as 'bos_token'."""
        for settings in (config, shared):
            value = settings.raw(key)
            if isinstance(value, dict):  # an AddedToken, written out
                value = value.get("content")
            if isinstance(value, str) and value in ids:
                return ids[value]
        return -1

    bos, unk, pad = named("bos_token"), named("unk_token"), named("pad_token")
    ends = {named("eos_token"), *_numbers(generation, "eos_token_id"), *_numbers(model, "eos_token_id")}
    ends |= {ids[added] for added in _special(whole) if added in END_TOKENS}
    # Of a tokenizer that writes what stands around a text itself, the answer is in tokenizer.json.
    around = whole.table("post_processor")
    own = around is not None and "SpecialToken" in json.dumps(around.values)
    return Vocabulary(
        tokenizer=json.dumps(
            {**whole.values, "truncation": None, "padding": None}, ensure_ascii=False, separators=(",", ":")
        ),
        size=max(ids.values()) + 1,
        chat_template=_template(text, config),
        bos=bos,
        eos=sorted(end for end in ends if 0 <= end <= max(ids.values())),
        unk=unk,
        pad=pad,
        add_bos=bos >= 0 and config.flag("add_bos_token", own),
    )


def _optional(text: Callable[[str], str | None], name: str, path: Path) -> Settings:
    found = text(name)
    return Settings({}, path / name) if found is None else parse_settings(found, path / name)


def _ids(whole: Settings) -> dict[str, int]:
    """Every token and its id: those of the model, and those added to it."""
    model = whole.table("model")
    vocabulary = model.raw("vocab") if model is not None else None
    if isinstance(vocabulary, list):  # Unigram: pairs of token and score, by id
        vocabulary = {pair[0]: number for number, pair in enumerate(vocabulary) if isinstance(pair, list) and pair}
    if not isinstance(vocabulary, dict):
        raise FormatError(whole.path, None, "a vocabulary in tokenizer.json (model.vocab)", "none")
    ids: dict[str, int] = dict(vocabulary)
    for added in _added(whole):
        ids[added["content"]] = added["id"]
    if not ids:
        raise FormatError(whole.path, None, "a vocabulary in tokenizer.json (model.vocab)", "an empty one")
    for token, number in ids.items():
        if not isinstance(token, str) or type(number) is not int or not 0 <= number < MAX_TOKENS:
            found = f"{number!r:.40} for {token!r:.40}"
            raise FormatError(whole.path, None, f"ids from 0 to {MAX_TOKENS - 1} in tokenizer.json", found)
    return ids


def _added(whole: Settings) -> list[dict[str, Any]]:
    added = whole.raw("added_tokens") or []
    if not isinstance(added, list) or not all(
        isinstance(token, dict) and isinstance(token.get("content"), str) and "id" in token for token in added
    ):
        raise whole.wrong("added_tokens", "a list of tokens with their ids")
    return added


def _special(whole: Settings) -> list[str]:
    return [token["content"] for token in _added(whole) if token.get("special")]


def _numbers(settings: Settings, key: str) -> list[int]:
    """One id or a list of them."""
    value = settings.raw(key)
    values = value if isinstance(value, list) else [value]
    return [number for number in values if type(number) is int]


def _template(text: Callable[[str], str | None], config: Settings) -> str:
    """The chat template: a file of its own, or in the configuration; of several, the one called 'default'."""
    alone = text("chat_template.jinja")
    if alone is not None:
        return alone
    value = config.raw("chat_template")
    if isinstance(value, list):
        named = {entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else ""
