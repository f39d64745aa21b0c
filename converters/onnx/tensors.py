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
from edgert.kernels_cpu.reference.narrow import decode, held

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

NARROW_TYPES: dict[int, str] = {
    16: "bfloat16", 17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4",
    22: "int4", 23: "float4e2m1", 24: "float8e8m0", 25: "uint2", 26: "int2", 27: "float6e2m3", 28: "float6e3m2",
}  # fmt: skip
"""TensorProto.DataType -> name, for the types whose values the IR holds in a wider one."""

NARROW_NUMBERS: dict[str, int] = {name: number for number, name in NARROW_TYPES.items()}

_BITS: dict[str, int] = {
    "bfloat16": 16, "float6e2m3": 6, "float6e3m2": 6, "float4e2m1": 4, "int4": 4, "uint4": 4, "int2": 2, "uint2": 2,
}  # fmt: skip
"""Bits that one stored value takes, 8 for those left out."""

_FIELDS: dict[int, tuple[str, str]] = {
    1: ("float_data", "<f4"), 11: ("double_data", "<f8"), 7: ("int64_data", "<i8"),
    12: ("uint64_data", "<u8"), 13: ("uint64_data", "<u8"),
}  # fmt: skip
"""Typed field of TensorProto by DataType; all others use `int32_data`."""


def type_name(number: int) -> str:
    """NumPy name of a TensorProto.DataType, or of what holds its values. Raises UnsupportedError for types the IR
    has not."""
    name = ELEMENT_TYPES.get(number)
    if name is None and number in NARROW_TYPES:
        return held(NARROW_TYPES[number])
    if name is None:
        from onnx import TensorProto

        known = number in TensorProto.DataType.values()
        label = TensorProto.DataType.Name(number).lower() if known else f"number {number}"
        raise UnsupportedError(f"expected a numeric element type edgert has, found {label}")
    return name


def to_array(tensor: TensorProto, external: ExternalData | None, file: Path | None = None) -> Array:
    """The values of `tensor`: little-endian, read-only where they are views of the file.

    Narrow floats become float32 and narrow integers int8/uint8, exactly. `external` None refuses external data.
    Raises FormatError when dimensions and bytes disagree, UnsupportedError for element types without
    numeric meaning here (strings, complex).
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


def _stored(number: int, count: int, bits: int) -> tuple[np.dtype[np.generic], int]:
    """(dtype, how many): how `count` values lie in a tensor. Those below 8 `bits` share bytes, the first lowest."""
    if number not in NARROW_TYPES:
        return np.dtype(ELEMENT_TYPES[number]).newbyteorder("<"), count
    return np.dtype("<u2" if bits == 16 else "u1"), -(-count * min(bits, 8) // 8)


def _bits(number: int) -> int:
    return _BITS.get(NARROW_TYPES.get(number, ""), 8)


def _from_bytes(tensor: TensorProto, data: memoryview, shape: tuple[int, ...], count: int, file: Path | None) -> Array:
    bits = _bits(tensor.data_type)
    dtype, stored = _stored(tensor.data_type, count, bits)
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
    return _widen(tensor.data_type, stored_values, count, bits).reshape(shape)


def _from_field(tensor: TensorProto, shape: tuple[int, ...], count: int, file: Path | None) -> Array:
    number = tensor.data_type
    field, dtype = _FIELDS.get(number, ("int32_data", "<i4"))
    values = getattr(tensor, field)
    bits = 8 if _bits(number) == 6 else _bits(number)  # floats of 6 bits are packed in raw_data alone
    kind, stored = _stored(number, count, bits)
    if len(values) != stored:
        raise FormatError(
            file, None, f"{stored} values in {field} of tensor {tensor.name[:80]!r} {shape}", f"{len(values)}"
        )
    raw = np.array(values, dtype)
    if number == 10:  # float16 bits in the low half of each int32
        return raw.astype("<u2").view("<f2").reshape(shape)
    if number in NARROW_TYPES:  # bits in the low part of each int32
        return _widen(number, raw.astype(kind), count, bits).reshape(shape)
    return raw.astype(ELEMENT_TYPES[number]).reshape(shape)


def _widen(number: int, stored: Array, count: int, bits: int) -> Array:
    if number not in NARROW_TYPES:
        return stored
    if bits < 8:
        stream = np.unpackbits(stored, bitorder="little")[: count * bits]
        stored = np.packbits(stream.reshape(count, bits), axis=1, bitorder="little").reshape(count)
    return decode(stored, NARROW_TYPES[number])
