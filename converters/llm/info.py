"""What a language model is, for people and for the runtime: name, licence, special tokens, pooling.
Where the vocabulary comes from is in `vocabulary.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from edgert.converters.llm.architecture import Architecture
from edgert.converters.llm.settings import Settings, parse_settings
from edgert.converters.llm.vocabulary import Vocabulary
from edgert.errors import FormatError, UnsupportedError
from edgert.format.model import LanguageInfo, ModelInfo

GGUF_POOLING: dict[int, Literal["", "mean", "cls", "last"]] = {1: "mean", 2: "cls", 3: "last"}
"""`pooling_type` of llama.cpp."""

POOLING_MODES: dict[str, Literal["", "mean", "cls", "last"]] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
"""Of a sentence-transformers Pooling module: the one that is true."""

NAME_LENGTH = 80


class Source(Protocol):
    """What is read here of a `Checkpoint`, or of a folder that has a tokenizer and no weights."""

    @property
    def path(self) -> Path: ...

    @property
    def format(self) -> Literal["gguf", "safetensors"]: ...

    @property
    def metadata(self) -> Mapping[str, Any]: ...

    def text(self, name: str) -> str | None: ...


@dataclass(frozen=True)
class Pooling:
    """How an encoder makes one vector of a text. longest: tokens of a text, 0 for what the model was trained for."""

    kind: Literal["", "mean", "cls", "last"] = ""
    normalize: bool = False
    longest: int = 0
    note: str = ""


def model_info(
    architecture: Architecture, checkpoint: Source, vocabulary: Vocabulary, tokenizer: str
) -> tuple[ModelInfo, list[str]]:
    """(what the file says of the model, notes for people). `tokenizer` names the stored tensor.

    Raises FormatError if the vocabulary is larger than the embedding table, UnsupportedError for a pooling
    that edgert does not know.
    """
    if vocabulary.size > architecture.vocabulary:
        expected = f"at most {architecture.vocabulary} tokens, the rows of the embedding table"
        raise FormatError(checkpoint.path, None, expected, str(vocabulary.size))
    notes = list(vocabulary.notes)
    pooling = Pooling() if architecture.causal else pooling_of(checkpoint, architecture)
    context = min(pooling.longest or architecture.context_length, architecture.context_length)
    for rope in filter(None, (architecture.rope, architecture.local_rope)):
        if rope.context is not None and rope.context < context:
            context = rope.context
            notes.append(f"context of {context} tokens: its rope changes beyond")
    if pooling.note:
        notes.append(pooling.note)
    language = LanguageInfo(
        architecture=architecture.name,
        context_length=context,
        vocabulary=architecture.vocabulary,
        tokenizer=tokenizer,
        chat_template=vocabulary.chat_template,
        bos=vocabulary.bos,
        eos=vocabulary.eos,
        unk=vocabulary.unk,
        pad=vocabulary.pad,
        add_bos=vocabulary.add_bos,
        pooling=pooling.kind,
        normalize=pooling.normalize,
        layers=architecture.layers,
        width=architecture.width,
        heads=architecture.heads,
        kv_heads=architecture.kv_heads,
        head_dim=architecture.head_dim,
    )
    task = "text-generation" if architecture.causal else "text-embedding"
    return ModelInfo(name_of(checkpoint), task, licence=licence_of(checkpoint), language=language), notes


def name_of(checkpoint: Source) -> str:
    """The name in the metadata, else that of the file or folder, on one line."""
    name = checkpoint.metadata.get("general.name") if checkpoint.format == "gguf" else None
    text = name if isinstance(name, str) and name else checkpoint.path.resolve().stem
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:NAME_LENGTH]


def licence_of(checkpoint: Source) -> str:
    """From the metadata of a GGUF file, or the front matter of a folder's README.md; '' if unknown."""
    if checkpoint.format == "gguf":
        text = checkpoint.metadata.get("general.license")
        return text[:NAME_LENGTH] if isinstance(text, str) else ""
    found = re.search(r"\A---\n(?:.*\n)*?license: *([\w.+-]+)", (checkpoint.text("README.md") or "")[: 1 << 14])
    return found.group(1) if found else ""


def pooling_of(checkpoint: Source, architecture: Architecture) -> Pooling:
    """From the metadata of a GGUF file or the modules of a sentence-transformers folder; else the mean."""
    assumed = "the source does not say how it makes one vector of a text: the normalized mean is assumed"
    default = Pooling("mean", True, note=assumed)
    if checkpoint.format == "gguf":
        settings = Settings(checkpoint.metadata, checkpoint.path, f"{architecture.name}.")
        kind = GGUF_POOLING.get(settings.integer("pooling_type", 0, low=0))
        return Pooling(kind, True) if kind else default
    modules = checkpoint.text("modules.json")
    return default if modules is None else sentence_pooling(checkpoint, modules)


def sentence_pooling(checkpoint: Source, modules: str) -> Pooling:
    """From modules.json: a transformer, a pooling, and perhaps a normalization.

    Raises UnsupportedError for other modules and modes, FormatError for a damaged file.
    """
    place = checkpoint.path / "modules.json"
    try:
        listed = json.loads(modules)
    except (ValueError, RecursionError) as error:
        raise FormatError(place, None, "a list of modules in JSON", str(error)[:80]) from None
    if not isinstance(listed, list) or not all(isinstance(module, dict) for module in listed):
        raise FormatError(place, None, "a list of modules", type(listed).__name__)
    kinds = [str(module.get("type", "")).rpartition(".")[2] for module in listed]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UnsupportedError(
            f"{place}: expected the modules Transformer, Pooling and perhaps Normalize, found {', '.join(kinds)[:200]}"
        )
    pooling = table(checkpoint, f"{listed[1].get('path', '')}/config.json")
    chosen = [key for key, value in pooling.values.items() if key.startswith("pooling_mode_") and value is True]
    if len(chosen) != 1 or chosen[0] not in POOLING_MODES:
        known = ", ".join(POOLING_MODES)
        raise UnsupportedError(f"{checkpoint.path}: expected one pooling mode among {known}; found {chosen or 'none'}")
    longest = table(checkpoint, "sentence_bert_config.json").integer("max_seq_length", 0)
    return Pooling(POOLING_MODES[chosen[0]], "Normalize" in kinds, longest)


def table(checkpoint: Source, name: str) -> Settings:
    """The JSON object in a file of the folder, empty if there is no such file. Raises FormatError."""
    text, place = checkpoint.text(name), checkpoint.path / name
    return Settings({}, place) if text is None else parse_settings(text, place)
