"""The tensor table in the header: what is stored, as which parts, where (rules F24 to F26).

Entries and their places, to JSON and back; the bytes of the parts are read and checked in `reader.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgert.errors import FormatError
from edgert.format import encodings, graph_fields
from edgert.format.fields import Value
from edgert.format.layouts import LAYOUTS, is_layout
from edgert.format.limits import MAX_TENSORS, aligned
from edgert.graph.ir import DTYPES, Quantization

_MAX_PARTS = 5
"""int8 in blocks: start, index, data, scale, sum."""


@dataclass(frozen=True)
class PartEntry:
    """One part and its place: `offset` counts from the start of the data section."""

    spec: encodings.PartSpec
    offset: int
    crc32: int


@dataclass(frozen=True)
class TensorEntry:
    """One stored tensor. `quant` if quantized per tensor; `axis` if per channel, its values being parts."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    encoding: str
    layout: str
    quant: Quantization | None
    axis: int | None
    parts: tuple[PartEntry, ...]


def tensors_from(value: Value, data_length: int) -> list[TensorEntry]:
    """The stored tensors, whose parts fill the data section of `data_length` bytes exactly.

    Raises FormatError.
    """
    entries: list[TensorEntry] = []
    names: set[str] = set()
    end = 0
    for item in value.items(MAX_TENSORS):
        entry, end = _tensor_from(item, end)
        if entry.name in names:
            item.fail("a tensor with a name of its own", f"{entry.name!r} twice")
        names.add(entry.name)
        entries.append(entry)
    if aligned(end) != data_length:
        value.fail(f"parts that fill the data section of {data_length} bytes", f"{aligned(end)} bytes")
    return entries


def tensors_to(entries: list[TensorEntry]) -> list[dict[str, Any]]:
    """The JSON list of the tensor table."""
    return [_tensor_to(entry) for entry in entries]


def _tensor_from(value: Value, end: int) -> tuple[TensorEntry, int]:
    """One entry whose parts follow byte `end`, and the end of its last part."""
    table = value.fields(("name", "dtype", "shape", "encoding", "layout", "parts"), ("quant",))
    dtype = graph_fields.dtype_from(table["dtype"])
    shape = graph_fields.shape_from(table["shape"], DTYPES[dtype].itemsize, named=False)
    sizes = tuple(int(d) for d in shape)
    encoding, layout = table["encoding"].one_of(encodings.ENCODINGS), _layout_from(table["layout"])
    quant = axis = None
    if "quant" in table:
        if encoding != "dense" or dtype not in encodings.QUANTIZED_DTYPES:
            table["quant"].fail(f"absent for {encoding} {dtype}")
        if isinstance(table["quant"].raw, dict) and "axis" in table["quant"].raw:
            axis = graph_fields.axis_from(table["quant"].fields(("axis",))["axis"], shape)
        else:
            quant = graph_fields.quant_from(table["quant"], dtype, shape)
    try:
        specs = encodings.part_specs(encoding, dtype, sizes, layout, axis)
    except FormatError as error:
        value.fail(error.expected, error.found)
    items = table["parts"].items(_MAX_PARTS)
    if len(items) != len(specs):
        table["parts"].fail(f"the {len(specs)} parts of encoding {encoding}", f"{len(items)}")
    parts = []
    for item, spec in zip(items, specs, strict=True):
        parts.append(_part_from(item, spec, aligned(end)))
        end = parts[-1].offset + parts[-1].spec.nbytes
    try:
        encodings.check_sizes(encoding, tuple(part.spec for part in parts))
    except FormatError as error:
        table["parts"].fail(error.expected, error.found)
    name = table["name"].name()
    return TensorEntry(name, dtype, sizes, encoding, layout, quant, axis, tuple(parts)), end


def _part_from(value: Value, spec: encodings.PartSpec, offset: int) -> PartEntry:
    """The part must be the one that the encoding implies, at the one place it can have."""
    table = value.fields(("role", "dtype", "offset", "nbytes", "crc32"))
    for key, wanted in {"role": spec.role, "dtype": spec.dtype, "offset": offset}.items():
        raw = table[key].raw
        if type(raw) is not type(wanted) or raw != wanted:
            table[key].fail(repr(wanted))
    nbytes = table["nbytes"]
    try:
        spec = spec.sized(nbytes.integer(0, 2**63 - 1))
    except FormatError as error:
        nbytes.fail(error.expected)
    return PartEntry(spec, offset, table["crc32"].integer(0, 2**32 - 1))


def _layout_from(value: Value) -> str:
    if not isinstance(value.raw, str) or not is_layout(value.raw):
        value.fail(f"one of the layouts {', '.join(LAYOUTS)}")
    return value.raw


def _tensor_to(entry: TensorEntry) -> dict[str, Any]:
    table: dict[str, Any] = {
        "name": entry.name,
        "dtype": entry.dtype,
        "shape": list(entry.shape),
        "encoding": entry.encoding,
        "layout": entry.layout,
        "parts": [
            {
                "role": part.spec.role,
                "dtype": part.spec.dtype,
                "offset": part.offset,
                "nbytes": part.spec.nbytes,
                "crc32": part.crc32,
            }
            for part in entry.parts
        ],
    }
    if entry.quant is not None:
        table["quant"] = graph_fields.quant_to(entry.quant)
    elif entry.axis is not None:
        table["quant"] = {"axis": entry.axis}
    return table
