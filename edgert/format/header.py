"""The header as one object: what a `.edge` file says about itself, to JSON bytes and back (rules F9 to F26).

Everything is judged before anything it describes is touched: the data section is not read here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgert.format import graph_fields, json_text, tensor_fields
from edgert.format.fields import Value
from edgert.format.limits import MAX_LABELS
from edgert.format.model import ModelInfo, Preprocessing
from edgert.graph.ir import DTYPES, Graph

RESAMPLE = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""Filters, by the names of Pillow's Image.Resampling."""

_MAX_PIXELS = 1 << 15
"""Of an image side: larger than any camera; 32768 squared still fits every index type."""


@dataclass(frozen=True)
class Header:
    """`graph` has the types of all but the stored tensors, and no constants yet."""

    producer: str
    source: dict[str, Any]
    info: ModelInfo
    graph: Graph
    tensors: list[tensor_fields.TensorEntry]
    report: dict[str, Any]


def header_from(data: bytes, data_length: int, file: Path | None) -> Header:
    """Parses and validates the header of `file`, whose data section has `data_length` bytes.

    Raises FormatError naming the field at fault.
    """
    table = Value(json_text.parse(data, file), file).fields(
        ("producer", "source", "model", "graph", "tensors", "report")
    )
    entries = tensor_fields.tensors_from(table["tensors"], data_length)
    graph = graph_fields.graph_from(table["graph"], {entry.name for entry in entries})
    return Header(
        table["producer"].line(), table["source"].free(), _info_from(table["model"], graph), graph,
        entries, table["report"].free(),
    )  # fmt: skip


def header_to(header: Header, file: Path | None) -> bytes:
    """The JSON text of the header. Raises FormatError if something in it is not JSON."""
    table = {
        "producer": header.producer,
        "source": header.source,
        "model": _info_to(header.info),
        "graph": graph_fields.graph_to(header.graph, {entry.name for entry in header.tensors}),
        "tensors": tensor_fields.tensors_to(header.tensors),
        "report": header.report,
    }
    return json_text.dump(table, file)


def _info_from(value: Value, graph: Graph) -> ModelInfo:
    table = value.fields(("name", "task", "labels", "preprocessing", "licence"))
    labels = [item.line() for item in table["labels"].items(MAX_LABELS)]
    preprocessing = None
    if table["preprocessing"].raw is not None:
        preprocessing = _preprocessing_from(table["preprocessing"], graph)
    return ModelInfo(table["name"].line(), table["task"].line(), labels, preprocessing, table["licence"].text())


def _info_to(info: ModelInfo) -> dict[str, Any]:
    table = {f.name: getattr(info, f.name) for f in fields(ModelInfo)}
    if info.preprocessing is not None:
        steps = info.preprocessing
        table["preprocessing"] = {f.name: getattr(steps, f.name) for f in fields(Preprocessing)}
    return table


def _preprocessing_from(value: Value, graph: Graph) -> Preprocessing:
    table = value.fields([f.name for f in fields(Preprocessing)])
    name = table["input"].name()
    if name not in graph.inputs:
        table["input"].fail("an input of the graph")
    crop = [item.integer(1, _MAX_PIXELS) for item in table["crop"].items(2)]
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
        resize=None if table["resize"].raw is None else table["resize"].integer(1, _MAX_PIXELS),
        resample=table["resample"].one_of(RESAMPLE),
        channels=channels,  # type: ignore[arg-type]
        layout=table["layout"].one_of(("NCHW", "NHWC")),  # type: ignore[arg-type]
        mean=numbers["mean"],
        scale=numbers["scale"],
        dtype=table["dtype"].one_of(DTYPES),
    )
