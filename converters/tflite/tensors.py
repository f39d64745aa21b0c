"""Tensors of a TFLite file: type, shape, value and quantization, each checked against the others.
Which tensors an operator may read is checked in `reader.py`."""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from edgert.converters.tflite.flat import Flat, Table
from edgert.converters.tflite.model import TfliteQuantization, TfliteTensor
from edgert.converters.tflite.schema import ELEMENT_TYPES
from edgert.converters.tflite.sparsity import densify
from edgert.errors import UnsupportedError
from edgert.graph.ir import Array

MAX_RANK = 8
"""As in .edge files; no operator of TFLite makes more dimensions."""

MAX_ELEMENTS = 1 << 40
"""Of one tensor: past any model, and far from overflowing int64."""

MAX_BUFFERS = 1 << 18
"""Most tensors have one of their own; exported models have a few thousand."""

PACKED_BITS = {"int4": 4, "uint4": 4, "int2": 2}
"""Types with several numbers in a byte, the first in the lowest bits."""

OPAQUE = ("string", "resource", "variant")
"""Types whose values have no fixed size; their constants are not read."""

QUANTIZED = {
    "int8": (-128, 127), "uint8": (0, 255), "int16": (-(1 << 15), (1 << 15) - 1), "uint16": (0, (1 << 16) - 1),
    "int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1),
    "int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1),
}  # fmt: skip
"""Types that can be quantized, with the range of their zero points. Parameters on other types mean nothing."""

_DETAILS = {2: "blockwise", 3: "multi-axis"}
"""The union QuantizationDetails, kinds that replace scale and zero point."""


class Buffers:
    """The values that tensors, metadata and others refer to by number, as views of the file."""

    def __init__(self, model: Table) -> None:
        self.flat = model.flat
        self._views: list[npt.NDArray[np.uint8]] = []
        for buffer in model.tables(4, "buffers", MAX_BUFFERS):
            self._views.append(self._view(buffer))
        self._unpacked: dict[tuple[int, str], Array] = {}

    def _view(self, buffer: Table) -> npt.NDArray[np.uint8]:
        data = buffer.array(0, "ubyte", buffer.what)
        offset, size = buffer.integer(1, "ulong"), buffer.integer(2, "ulong")
        if data.size or offset <= 1:  # 0 and 1 stand for "in the flatbuffer"
            return data.view(np.uint8)
        return outside(self.flat, offset, size, buffer.at, buffer.what)

    def __len__(self) -> int:
        return len(self._views)

    def get(self, index: int, user: Table) -> npt.NDArray[np.uint8]:
        """Buffer number `index`, which table `user` names."""
        if not 0 <= index < len(self._views):
            raise self.flat.error(user.at, f"a buffer below {len(self._views)} for {user.what}", str(index))
        return self._views[index]

    def unpacked(self, index: int, dtype: str, count: int, user: Table) -> Array:
        """The first `count` of the small integers in a buffer, as int8 or uint8; made once for all tensors."""
        key = index, dtype
        if key not in self._unpacked:
            data = self.get(index, user)
            bits = PACKED_BITS[dtype]
            self.flat.charge(2 * data.size * (8 // bits), user.at, user.what)
            shifts = np.arange(0, 8, bits, dtype=np.uint8)
            numbers = ((data[:, None] >> shifts) & ((1 << bits) - 1)).astype(np.uint8).reshape(-1)
            if not dtype.startswith("u"):
                sign = 1 << (bits - 1)
                numbers = ((numbers ^ sign).astype(np.int8) - np.int8(sign)).astype(np.int8)
            self._unpacked[key] = numbers
        return self._unpacked[key][:count]


def outside(flat: Flat, offset: int, size: int, at: int, what: str) -> npt.NDArray[np.uint8]:
    """Bytes that lie behind the flatbuffer, as in files above 2 GB. Raises FormatError when the file ends before."""
    if offset + size > flat.data.size:
        expected = f"{what} of {size} bytes at byte {offset}"
        raise flat.error(at, expected, f"the end of the file at byte {flat.data.size}")
    return flat.data[offset : offset + size]


def read_tensor(table: Table, index: int, buffers: Buffers) -> TfliteTensor:
    """Tensor number `index` of its graph. A constant's `data` is a read-only view of the file where that is
    possible. Raises FormatError where type, shape, value and quantization do not fit each other, UnsupportedError
    for quantization by blocks."""
    flat = table.flat
    code = table.integer(1, "byte")
    if not 0 <= code < len(ELEMENT_TYPES):
        raise flat.error(table.at, f"an element type below {len(ELEMENT_TYPES)} for {table.what}", str(code))
    name = table.text(3, f"the name of {table.what}")
    what = f"{table.what} {name[:80]!r}"
    shape, signature = _shapes(table, what)
    tensor = TfliteTensor(index, name, ELEMENT_TYPES[code], shape, signature)
    tensor.variable = bool(table.scalar(5, "bool"))
    sparsity = table.table(6, f"the sparsity of {what}")
    tensor.sparse = sparsity is not None
    if (external := table.integer(10, "uint")) != 0:
        raise UnsupportedError(f"{flat.path}: {what} keeps its values in another file (external buffer {external})")
    tensor.data = _value(table, tensor, sparsity, buffers, what)
    quantization = table.table(4, f"the quantization of {what}")
    if quantization is not None:
        tensor.quant = _quantization(quantization, tensor, what)
    return tensor


def _shapes(table: Table, what: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape, free sizes as 1, and signature, free sizes as -1."""
    flat = table.flat
    shape, signature = table.ints(0, f"the shape of {what}"), table.ints(7, f"the shape signature of {what}")
    if len(shape) > MAX_RANK or len(signature) > MAX_RANK:
        raise flat.error(table.at, f"at most {MAX_RANK} dimensions for {what}", str(max(len(shape), len(signature))))
    if any(size < -1 for size in shape + signature):
        raise flat.error(table.at, f"sizes of at least 0, -1 where free, for {what}", f"{shape}, {signature}")
    if signature and len(signature) != len(shape):
        raise flat.error(table.at, f"a shape signature of {len(shape)} dimensions for {what}", str(signature))
    sizes = tuple(abs(size) for size in shape)
    if prod(sizes) > MAX_ELEMENTS:
        raise flat.error(table.at, f"at most {MAX_ELEMENTS} elements for {what}", str(shape))
    free = tuple(-1 if -1 in pair else size for size, *pair in zip(sizes, shape, signature or shape, strict=True))
    return sizes, free


def _value(table: Table, tensor: TfliteTensor, sparsity: Table | None, buffers: Buffers, what: str) -> Array | None:
    """The value of a constant; None for a tensor without one, or whose values have no fixed size."""
    flat, number = table.flat, table.integer(2, "uint")
    raw = buffers.get(number, table)
    if raw.size == 0 or tensor.dtype in OPAQUE:
        return None
    count = prod(tensor.shape)
    bits = PACKED_BITS.get(tensor.dtype)
    dtype = _storage(tensor.dtype)
    stored = (raw.size // dtype.itemsize if bits is None else raw.size * 8 // bits) if sparsity else count
    needed = stored * dtype.itemsize if bits is None else -(-stored * bits // 8)
    if raw.size != needed:
        expected = f"{needed} bytes for {what}, {tensor.dtype} {list(tensor.shape)}"
        raise flat.error(table.at, expected, f"a buffer of {raw.size}")
    values: Array = raw.view(dtype) if bits is None else buffers.unpacked(number, tensor.dtype, stored, table)
    if tensor.dtype == "bool" and values.size and values.view(np.uint8).max() > 1:
        raise flat.error(table.at, f"0 and 1 in {what}", str(int(values.view(np.uint8).max())))
    values = values.reshape(tensor.shape) if sparsity is None else densify(sparsity, tensor.shape, values, what)
    values.flags.writeable = False
    return values


def _storage(dtype: str) -> np.dtype[np.generic]:
    """The NumPy type that values of `dtype` are read as: bit patterns where NumPy has no such type."""
    if dtype in PACKED_BITS:
        return np.dtype(np.uint8 if dtype.startswith("u") else np.int8)
    if dtype == "bfloat16":
        return np.dtype("<u2")
    if dtype.startswith("float8"):
        return np.dtype(np.uint8)
    return np.dtype(dtype).newbyteorder("<")


def _quantization(table: Table, tensor: TfliteTensor, what: str) -> TfliteQuantization | None:
    """Scales and zero points; None where the file gives none or the type cannot be quantized."""
    flat = table.flat
    if tensor.dtype not in QUANTIZED:
        return None
    if (kind := _DETAILS.get(table.integer(4, "ubyte"))) is not None:
        raise UnsupportedError(f"{flat.path}: {what} is quantized {kind}; edgert takes one scale per tensor or channel")
    scale = np.asarray(table.array(2, "float", f"the scales of {what}"), np.float32)
    zero = np.asarray(table.array(3, "long", f"the zero points of {what}"), np.int64)
    if scale.size == 0:
        return None
    axis = table.integer(6, "int")
    if scale.size > 1 and not (0 <= axis < len(tensor.shape) and tensor.shape[axis] == scale.size):
        expected = f"one scale for {what} or one for each of its {list(tensor.shape)} along a dimension"
        raise flat.error(table.at, expected, f"{scale.size} along dimension {axis}")
    if zero.size == 0:
        zero = np.zeros(scale.size, np.int64)
    elif zero.size == 1:
        zero = np.broadcast_to(zero, scale.shape)
    if zero.size != scale.size:
        raise flat.error(table.at, f"{scale.size} zero points for {what}", str(zero.size))
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        found = str(scale[~(np.isfinite(scale) & (scale > 0))][0])
        raise flat.error(table.at, f"finite scales above 0 for {what}", found)
    low, high = QUANTIZED[tensor.dtype]
    if (zero < low).any() or (zero > high).any():
        found = str(zero[(zero < low) | (zero > high)][0])
        raise flat.error(table.at, f"zero points from {low} to {high} for {what}", found)
    return TfliteQuantization(scale, zero, axis if scale.size > 1 else 0)
