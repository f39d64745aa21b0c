"""What the model is, in the header: names, preprocessing, the language, to JSON and back (rules F23, F43).

Nothing here is needed to compute; it is what turns images or text into inputs, and outputs into words.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from edgert.format.fields import Value
from edgert.format.limits import (
    MAX_CONTEXT,
    MAX_EOS,
    MAX_IMAGE_SIDE,
    MAX_LABELS,
    MAX_LANGUAGE_SIZE,
    MAX_TOKENIZER_BYTES,
    MAX_VOCABULARY,
)
from edgert.format.model import LanguageInfo, ModelInfo, Preprocessing
from edgert.format.tensor_fields import TensorEntry
from edgert.graph.ir import DTYPES, Graph

RESAMPLE = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""Filters, by the names of Pillow's Image.Resampling."""

POOLING = ("", "mean", "cls", "last")
"""How an encoder makes one vector of a text; '' if the model is none."""


def info_from(value: Value, graph: Graph, entries: Collection[TensorEntry]) -> ModelInfo:
    """The model's description, which may name inputs of `graph` and stored tensors. Raises FormatError."""
    table = value.fields(("name", "task", "labels", "preprocessing", "licence"), ("language",))
    labels = [item.line() for item in table["labels"].items(MAX_LABELS)]
    preprocessing = language = None
    if table["preprocessing"].raw is not None:
        preprocessing = _preprocessing_from(table["preprocessing"], graph)
    if "language" in table:
        language = _language_from(table["language"], graph, entries)
    return ModelInfo(
        table["name"].line(), table["task"].line(), labels, preprocessing, table["licence"].text(), language
    )


def info_to(info: ModelInfo) -> dict[str, Any]:
    """The JSON object; a model without a language has no such key."""
    table = _plain(info)
    if info.preprocessing is not None:
        steps = table["preprocessing"] = _plain(info.preprocessing)
        if not info.preprocessing.standardize:
            del steps["standardize"]
    if info.language is not None:
        return table | {"language": _plain(info.language)}
    del table["language"]
    return table


def _plain(record: Any) -> dict[str, Any]:
    return {f.name: getattr(record, f.name) for f in fields(record)}


def _preprocessing_from(value: Value, graph: Graph) -> Preprocessing:
    optional = ("standardize",)
    table = value.fields([f.name for f in fields(Preprocessing) if f.name not in optional], optional)
    name = table["input"].name()
    if name not in graph.inputs:
        table["input"].fail("an input of the graph")
    crop = [item.integer(1, MAX_IMAGE_SIDE) for item in table["crop"].items(2)]
    if len(crop) != 2:
        table["crop"].fail("[height, width]")
    channels = table["channels"].one_of(("RGB", "BGR", "L"))
    numbers = {key: [item.real() for item in table[key].items(3)] for key in ("mean", "scale")}
    for key, values in numbers.items():
        if len(values) not in (1, len(channels)):
            table[key].fail(f"1 or {len(channels)} numbers")
    return Preprocessing(
        input=name,
        crop=(crop[0], crop[1]),
        resize=None if table["resize"].raw is None else table["resize"].integer(1, MAX_IMAGE_SIDE),
        resample=table["resample"].one_of(RESAMPLE),
        channels=channels,  # type: ignore[arg-type]
        layout=table["layout"].one_of(("NCHW", "NHWC")),  # type: ignore[arg-type]
        mean=numbers["mean"],
        scale=numbers["scale"],
        dtype=table["dtype"].one_of(DTYPES),
        standardize="standardize" in table and table["standardize"].boolean(),
    )


def _language_from(value: Value, graph: Graph, entries: Collection[TensorEntry]) -> LanguageInfo:
    table = value.fields([f.name for f in fields(LanguageInfo)])
    vocabulary = table["vocabulary"].integer(1, MAX_VOCABULARY)
    last = vocabulary - 1
    if table["tokenizer"].raw != "":
        _check_tokenizer(table["tokenizer"], graph, entries)
    language = LanguageInfo(
        architecture=table["architecture"].line(),
        context_length=table["context_length"].integer(1, MAX_CONTEXT),
        vocabulary=vocabulary,
        tokenizer=table["tokenizer"].line(),
        chat_template=table["chat_template"].text(),
        eos=[item.integer(0, last) for item in table["eos"].items(MAX_EOS)],
        add_bos=table["add_bos"].boolean(),
        pooling=table["pooling"].one_of(POOLING),  # type: ignore[arg-type]
        normalize=table["normalize"].boolean(),
        **{key: table[key].integer(-1, last) for key in ("bos", "unk", "pad")},
        **{
            key: table[key].integer(0, MAX_LANGUAGE_SIZE)
            for key in ("layers", "width", "heads", "kv_heads", "head_dim")
        },
    )
    if language.add_bos and language.bos < 0:
        table["bos"].fail("a token, for add_bos is true")
    if language.kv_heads and language.heads % language.kv_heads:
        table["kv_heads"].fail(f"a divisor of heads, {language.heads}")
    return language


def _check_tokenizer(value: Value, graph: Graph, entries: Collection[TensorEntry]) -> None:
    """The name must be that of stored bytes that nothing computes with."""
    name = value.name()
    entry = next((entry for entry in entries if entry.name == name), None)
    if entry is None or (entry.dtype, len(entry.shape), entry.layout) != ("uint8", 1, "row"):
        value.fail("a stored tensor of dtype uint8 and shape [n], in layout row")
    if entry.shape[0] > MAX_TOKENIZER_BYTES:
        value.fail(f"of at most {MAX_TOKENIZER_BYTES} bytes", f"{entry.shape[0]} bytes")
    if name in graph.used():
        value.fail("a tensor that the graph does not use")
