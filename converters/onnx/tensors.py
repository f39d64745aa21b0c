"""TensorProto to NumPy: sizes are checked before anything is allocated.
Where external bytes come from is in `external_data.py`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgert.converters.onnx.external_data import ExternalData
from edgert.errors import FormatError, UnsupportedError
from edgert.graph.ir import Array

if TYPE_CHECKING:
    from onnx import TensorProto

MAX_RANK = 8
"""As the .edge format; no network in use has more."""

ELEMENT_TYPES: dict[int, str] = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
"""TensorProto.DataType -> NumPy name, for the types the IR has."""

TYPE_NUMBERS: dict[str, int] = {name: number for number, name in ELEMENT_TYPES.items()}

BFLOAT16, UINT4, INT4 = 16, 21, 22
WIDENED: dict[int, str] = {BFLOAT16: "float32", UINT4: "uint8", INT4: "int8"}
"""Types that constants may have and the IR has not: their values are kept exactly in a wider type."""

_FIELDS: dict[int, tuple[str, str]] = {
    1: ("float_data", "<f4"), 11: ("double_data", "<f8"), 7: ("int64_data", "<i8"),
    12: ("uint64_data", "<u8"), 13: ("uint64_data", "<u8"),
}  # fmt: skip
"""Typed field of TensorProto by DataType; all others use `int32_data`."""


def type_name(number: int) -> str:
    """NumPy name of a TensorProto.DataType. Raises UnsupportedError for types the IR has not."""
    name = ELEMENT_TYPES.get(number) or WIDENED.get(number)
    if name is None:
        from onnx import TensorProto

        known = number in TensorProto.DataType.values()
        label = TensorProto.DataType.Name(number).lower() if known else f"number {number}"
        raise UnsupportedError(f"expected a numeric element type edgert has, found {label}")
    return name


def to_array(tensor: TensorProto, external: ExternalData | None, file: Path | None = None) -> Array:
    """The values of `tensor`: little-endian, read-only where they are views of the file.

    bfloat16 becomes float32 and 4-bit integers int8/uint8, exactly. `external` None refuses external data.
    Raises FormatError when dimensions and bytes disagree, UnsupportedError for element types without
    numeric meaning here (strings, complex, float8).
    """
    name = tensor.name[:80]
    type_name(tensor.data_type)
    shape = tuple(tensor.dims)
    if len(shape) > MAX_RANK or any(d < 0 for d in shape):
        raise FormatError(file, None, f"at most {MAX_RANK} sizes >= 0 (tensor {name!r})", f"{shape[:16]}")
    if tensor.HasField("segment"):
        raise FormatError(file, None, f"a whole tensor ({name!r})", "a segment")
    count = math.prod(shape)
    if tensor.data_location == tensor.EXTERNAL:
        if external is None:
            raise FormatError(file, None, f"values inside the file (tensor {name!r})", "external data")
        return _from_bytes(tensor, external.read(tensor), shape, count, file)
    if tensor.HasField("raw_data"):
        return _from_bytes(tensor, memoryview(tensor.raw_data), shape, count, file)
    return _from_field(tensor, shape, count, file)


def _stored(number: int) -> np.dtype[np.generic]:
    """How one value (two for 4-bit types) lies in raw_data."""
    if number == BFLOAT16:
        return np.dtype("<u2")
    if number in (UINT4, INT4):
        return np.dtype("u1")
    return np.dtype(ELEMENT_TYPES[number]).newbyteorder("<")


def _from_bytes(tensor: TensorProto, data: memoryview, shape: tuple[int, ...], count: int, file: Path | None) -> Array:
    dtype = _stored(tensor.data_type)
    stored = (count + 1) // 2 if tensor.data_type in (UINT4, INT4) else count
    if len(data) != stored * dtype.itemsize:
        raise FormatError(
            file,
            None,
            f"{stored * dtype.itemsize} bytes for tensor {tensor.name[:80]!r} {shape}",
            f"{len(data)}",
        )
    if tensor.data_type == 9:  # any non-zero byte is true; NumPy wants 0 or 1
        flags: Array = np.frombuffer(data, "u1") != 0
        return flags.reshape(shape)
    stored_values: Array = np.frombuffer(data, dtype)
    return _widen(tensor.data_type, stored_values, count).reshape(shape)


def _from_field(tensor: TensorProto, shape: tuple[int, ...], count: int, file: Path | None) -> Array:
    number = tensor.data_type
    field, dtype = _FIELDS.get(number, ("int32_data", "<i4"))
    values = getattr(tensor, field)
    stored = (count + 1) // 2 if number in (UINT4, INT4) else count
    if len(values) != stored:
        raise FormatError(
            file, None, f"{stored} values in {field} of tensor {tensor.name[:80]!r} {shape}", f"{len(values)}"
        )
    raw = np.array(values, dtype)
    if number == 10:  # float16 bits in the low half of each int32
        return raw.astype("<u2").view("<f2").reshape(shape)
    if number == BFLOAT16:
        return _widen(number, raw.astype("<u2"), count).reshape(shape)
    if number in (UINT4, INT4):
        return _widen(number, raw.astype("u1"), count).reshape(shape)
    return raw.astype(ELEMENT_TYPES[number]).reshape(shape)


def _widen(number: int, stored: Array, count: int) -> Array:
    if number == BFLOAT16:
        widened: Array = (stored.astype("<u4") << 16).view("<f4")
        return widened
    if number in (UINT4, INT4):  # two per byte, low nibble first
        nibbles = np.stack([stored & 15, stored >> 4], axis=-1).reshape(-1)[:count]
        return nibbles if number == UINT4 else ((nibbles ^ 8).astype(np.int8) - np.int8(8))
    return stored
