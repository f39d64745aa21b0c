"""Vocabularies of Hugging Face folders: which files say what. Rebuilt GGUF vocabularies: tests/converters/gguf."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgert.converters.llm.checkpoint import open_checkpoint
from edgert.converters.llm.vocabulary import Vocabulary, vocabulary_of
from edgert.converters.llm.vocabulary_huggingface import huggingface_vocabulary
from edgert.errors import EdgertError, FormatError, UnsupportedError
from edgert.llm.tokenizer import Tokenizer

FOLDER = Path("folder")


def tokenizer_json(**changes: Any) -> dict[str, Any]:
    def added(number: int, text: str) -> dict[str, Any]:
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        return {"id": number, "content": text, **flags}

    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
    return {
        "version": "1.0",
        "truncation": {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "added_tokens": [added(3, "<s>"), added(4, "</s>"), added(5, "<|im_end|>")],
        "pre_tokenizer": level,
        "decoder": level,
        "model": model,
    } | changes


def vocabulary(**files: Any) -> Vocabulary:
    """Of a folder with `files`, whose names have _ for the dot before json; objects are written as JSON."""
    files = {"tokenizer_json": tokenizer_json(), **files}
    texts = {
        (name.removesuffix("_json") + ".json" if name.endswith("_json") else name.replace("_jinja", ".jinja")): (
            value if isinstance(value, str) or value is None else json.dumps(value)
        )
        for name, value in files.items()
    }
    return huggingface_vocabulary(texts.get, FOLDER)


def test_a_tokenizer_alone() -> None:
    found = vocabulary()
    assert (found.size, found.bos, found.eos, found.unk, found.pad) == (6, -1, [4, 5], -1, -1)
    assert (found.chat_template, found.add_bos, found.notes) == ("", False, [])
    assert Tokenizer(found.tokenizer.encode()).encode("ab" * 20) == [2] * 20  # not cut to 8


def test_special_tokens_of_the_configuration() -> None:
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "unk_token": None, "pad_token": "no such"}
    found = vocabulary(
        tokenizer_config_json=config | {"add_bos_token": True}, special_tokens_map_json={"pad_token": "b"}
    )
    assert (found.bos, found.eos, found.unk, found.pad, found.add_bos) == (3, [4, 5], -1, 1, True)
    assert vocabulary(tokenizer_config_json=config).add_bos is False


def test_ends_of_all_files_together() -> None:
    found = vocabulary(
        tokenizer_json=tokenizer_json(added_tokens=[]),
        generation_config_json={"eos_token_id": [2, 0]},
        config_json={"eos_token_id": 1},
    )
    assert found.eos == [0, 1, 2]
    assert vocabulary(generation_config_json={"eos_token_id": [99, "x"]}).eos == [4, 5]


def test_a_tokenizer_that_puts_bos_first_itself() -> None:
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}},
    }
    found = vocabulary(
        tokenizer_json=tokenizer_json(post_processor=template), tokenizer_config_json={"bos_token": "<s>"}
    )
    assert found.add_bos
    mine = Tokenizer(found.tokenizer.encode(), bos=found.bos, eos=found.eos, add_bos=found.add_bos)
    assert mine.encode("ab") == [3, 2]


@pytest.mark.parametrize(
    ("files", "template"),
    [
        ({"tokenizer_config_json": {"chat_template": "one"}}, "one"),
        ({"tokenizer_config_json": {"chat_template": "one"}, "chat_template_jinja": "file"}, "file"),
        (
            {"tokenizer_config_json": {"chat_template": [{"name": "rag"}, {"name": "default", "template": "y"}]}},
            "y",
        ),
        ({"tokenizer_config_json": {"chat_template": [1]}}, ""),
    ],
)  # fmt: skip
def test_chat_templates(files: dict[str, Any], template: str) -> None:
    assert vocabulary(**files).chat_template == template


def test_unigram_vocabularies_have_ids_by_position() -> None:
    model = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]}
    found = vocabulary(
        tokenizer_json=tokenizer_json(model=model, added_tokens=[]), tokenizer_config_json={"unk_token": "<unk>"}
    )
    assert (found.size, found.unk) == (2, 0)


@pytest.mark.parametrize(
    ("files", "kind", "says"),
    [
        ({"tokenizer_json": None}, FormatError, "expected tokenizer.json, found none"),
        ({"tokenizer_json": None, "tokenizer.model": "x"}, UnsupportedError, "found tokenizer.model only"),
        ({"tokenizer_json": "{"}, FormatError, "a JSON object"),
        ({"tokenizer_json": []}, FormatError, "found list"),
        ({"tokenizer_json": {}}, FormatError, r"model\.vocab"),
        ({"tokenizer_json": tokenizer_json(model=[])}, FormatError, "'model'"),
        ({"tokenizer_json": tokenizer_json(model={"vocab": {}}, added_tokens=[])}, FormatError, "empty"),
        ({"tokenizer_json": tokenizer_json(model={"vocab": {"a": -1}})}, FormatError, "found -1 for 'a'"),
        ({"tokenizer_json": tokenizer_json(model={"vocab": {"a": 2**40}})}, FormatError, "for 'a'"),
        ({"tokenizer_json": tokenizer_json(model={"vocab": {"a": "1"}})}, FormatError, "found '1'"),
        ({"tokenizer_json": tokenizer_json(added_tokens=[{"content": 1}])}, FormatError, "added_tokens"),
        ({"tokenizer_config_json": "x"}, FormatError, r"tokenizer_config\.json"),
        ({"tokenizer_config_json": {"bos_token": "<s>", "add_bos_token": 3}}, FormatError, "add_bos_token"),
    ],
)
def test_what_is_wrong_is_one_clear_error(files: dict[str, Any], kind: type[EdgertError], says: str) -> None:
    with pytest.raises(kind, match=says):
        vocabulary(**files)


@pytest.mark.model
def test_minilm(asset: Callable[[str], Path]) -> None:
    found = vocabulary_of(open_checkpoint(asset("minilm-l6")))
    assert (found.size, found.bos, found.eos, found.unk, found.pad) == (30522, -1, [], 100, 0)
    mine = Tokenizer(found.tokenizer.encode(), bos=found.bos, eos=found.eos, add_bos=found.add_bos)
    assert mine.encode("Hello, wörld!") == [101, 7592, 1010, 2088, 999, 102]


@pytest.mark.model
def test_smollm2(asset: Callable[[str], Path]) -> None:
    found = vocabulary_of(open_checkpoint(asset("smollm2-135m")))
    assert (found.size, found.bos, found.eos) == (49152, 1, [0, 2])
