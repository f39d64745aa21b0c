"""The header as one object: what a `.edge` file says about itself, to JSON bytes and back (rules F9 to F26 and others).

Everything is judged before anything it describes is touched: the data section is not read here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgert.format import graph_fields, info_fields, json_text, tensor_fields
from edgert.format.fields import Value
from edgert.format.model import ModelInfo
from edgert.graph.ir import Graph


@dataclass(frozen=True)
class Header:
    """`graph` has the types of all but the stored tensors, and no constants yet."""

    producer: str
    source: dict[str, Any]
    info: ModelInfo
    graph: Graph
    tensors: list[tensor_fields.TensorEntry]
    report: dict[str, Any]
    initial: dict[str, str] = field(default_factory=dict)
    """State -> the stored tensor with its first value, where that is not zeros."""


def header_from(data: bytes, data_length: int, file: Path | None) -> Header:
    """Parses and validates the header of `file`, whose data section has `data_length` bytes.

    Raises FormatError naming the field at fault.
    """
    table = Value(json_text.parse(data, file), file).fields(
        ("producer", "source", "model", "graph", "tensors", "report")
    )
    entries = tensor_fields.tensors_from(table["tensors"], data_length)
    graph = graph_fields.graph_from(table["graph"], {entry.name for entry in entries})
    initial: dict[str, str] = {}
    if "initial" in (fields := table["graph"].raw):
        kinds = {entry.name: (entry.dtype, entry.shape) for entry in entries if entry.encoding == "dense"}
        initial = graph_fields.initial_from(Value(fields["initial"], file, table["graph"], "initial"), graph, kinds)
    return Header(
        table["producer"].line(), table["source"].free(), info_fields.info_from(table["model"], graph, entries), graph,
        entries, table["report"].free(), initial,
    )  # fmt: skip


def header_to(header: Header, file: Path | None) -> bytes:
    """The JSON text of the header. Raises FormatError if something in it is not JSON."""
    table = {
        "producer": header.producer,
        "source": header.source,
        "model": info_fields.info_to(header.info),
        "graph": graph_fields.graph_to(header.graph, {entry.name for entry in header.tensors}),
        "tensors": tensor_fields.tensors_to(header.tensors),
        "report": header.report,
    }
    return json_text.dump(table, file)
