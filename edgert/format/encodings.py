"""Encodings: which parts a stored tensor has, their exact sizes, and what must hold inside them.

`dense` and `q8` (rules F25, F29 to F33). Where the parts lie in the file is `tensor_fields.py`.

* dense: `data`, the values in the tensor's layout; with quantization per channel also `scale` float32 [C]
  and `zero_point` int32 [C].
* q8: int8 values, symmetric, one scale per row of the first axis: `data` int8 in the layout, `scale`
  float32 [N], `sum` int32 [N] (the sum of each row's values, which folds any activation zero point into
  the bias). The logical dtype is float32 (the values are scale * data) or int8 (the values are data and
  the quantization of the tensor is (scale, 0, axis 0)).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from edgert.errors import FormatError
from edgert.format import layouts
from edgert.format.limits import MAX_Q8_ROW
from edgert.graph.ir import DTYPES, Array, Quantization

ENCODINGS = ("dense", "q8")

QUANTIZED_DTYPES = ("int8", "uint8", "int16", "uint16", "int32")
"""Stored types that may carry a quantization; int32 is for biases."""

Q8_LIMIT = 127
"""q8 leaves -128 out: negation stays exact and 7-bit pair sums cannot overflow."""


@dataclass(frozen=True)
class PartSpec:
    """What one part of a tensor must be."""

    role: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * DTYPES[self.dtype].itemsize


def part_specs(
    encoding: str, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None = None
) -> tuple[PartSpec, ...]:
    """The parts, in file order. `axis` is that of a dense tensor's quantization, None if not per channel.

    Sizes are Python integers. Raises FormatError if the combination has no meaning.
    """
    if dtype not in DTYPES:
        raise FormatError(None, None, f"one of the dtypes {', '.join(DTYPES)}", repr(dtype))
    if axis is not None and not (0 <= axis < len(shape) and dtype in QUANTIZED_DTYPES):
        raise FormatError(
            None, None, f"per-channel quantization of {' or '.join(QUANTIZED_DTYPES)} along an axis it has",
            f"axis {axis} of {dtype} {list(shape)}",
        )  # fmt: skip
    if encoding == "dense":
        parts = [PartSpec("data", dtype, layouts.packed_shape(layout, dtype, shape))]
        if axis is not None:
            parts += [
                PartSpec("scale", "float32", (shape[axis],)),
                PartSpec("zero_point", "int32", (shape[axis],)),
            ]
        return tuple(parts)
    if encoding != "q8":
        raise FormatError(None, None, f"one of the encodings {', '.join(ENCODINGS)}", repr(encoding))
    if dtype not in ("float32", "int8") or not shape:
        raise FormatError(
            None, None, "float32 or int8 with a row axis for encoding q8", f"{dtype} of shape {list(shape)}"
        )
    if prod(shape[1:]) > MAX_Q8_ROW:
        raise FormatError(None, None, f"q8 rows of at most {MAX_Q8_ROW} values", str(prod(shape[1:])))
    rows = (shape[0],)
    return (
        PartSpec("data", "int8", layouts.packed_shape(layout, "int8", shape)),
        PartSpec("scale", "float32", rows),
        PartSpec("sum", "int32", rows),
    )


def check_part(encoding: str, dtype: str, shape: tuple[int, ...], layout: str, role: str, array: Array) -> None:
    """Raises FormatError unless the values of one part are what its encoding promises.

    `dtype`, `shape` and `layout` are the tensor's. Reads `array` once and copies nothing of its size.
    """
    if role == "data":
        if not layouts.padding_is_zero(array, layout, shape):
            raise FormatError(None, None, f"zero padding in layout {layout}", "other values")
        if encoding == "q8" and array.size and int(array.min()) < -Q8_LIMIT:
            raise FormatError(None, None, f"q8 values of at least {-Q8_LIMIT}", str(array.min()))
        if array.dtype == np.bool_ and array.size and int(array.view(np.uint8).max()) > 1:
            raise FormatError(None, None, "bool values 0 and 1", str(array.view(np.uint8).max()))
    elif role == "scale":
        check_scale(array)
    elif role == "zero_point":
        check_zero_point(array, dtype)


def check_sum(data: Array, layout: str, shape: tuple[int, ...], total: Array) -> None:
    """Raises FormatError unless `total` has the row sums of the q8 values `data`."""
    rows = layouts.unpack(data, layout, shape).reshape(shape[0], prod(shape[1:]))
    if not np.array_equal(row_sums(rows), total):
        raise FormatError(None, None, "q8 `sum` equal to the sums of the rows", "other values")


def check_scale(scale: Array) -> None:
    """Raises FormatError unless every scale is finite and positive."""
    bad = ~(np.isfinite(scale) & (scale > 0))
    if bad.any():
        raise FormatError(None, None, "scales that are finite and > 0", str(scale[bad].flat[0]))


def check_zero_point(zero_point: Array, dtype: str) -> None:
    """Raises FormatError unless every zero point is a value of the stored `dtype`."""
    info = np.iinfo(dtype)
    bad = (zero_point < info.min) | (zero_point > info.max)
    if bad.any():
        raise FormatError(None, None, f"zero points of {dtype}", str(zero_point[bad].flat[0]))


def row_sums(values: Array) -> npt.NDArray[np.int32]:
    """The sums of the rows [N, ...] of int8 values: int32 [N]."""
    rows = values.reshape(values.shape[0], prod(values.shape[1:]))
    total: npt.NDArray[np.int32] = np.sum(rows, axis=1, dtype=np.int32)
    return total


def encode_dense(array: Array, layout: str = "row", quant: Quantization | None = None) -> dict[str, Array]:
    """The parts of a dense tensor. Raises FormatError if the layout is not for such tensors."""
    parts = {"data": layouts.pack(array, layout)}
    if quant is not None and not quant.per_tensor:
        parts |= {"scale": quant.scale, "zero_point": quant.zero_point}
    return parts


def encode_q8(values: Array, scale: Array, layout: str = "row") -> dict[str, Array]:
    """The parts of a q8 tensor from int8 `values` [N, ...], at least -127, and `scale` float32 [N] or [].

    Raises FormatError if they break a rule of the encoding.
    """
    part_specs("q8", values.dtype.name, values.shape, layout)
    rows = np.array(np.broadcast_to(np.asarray(scale, np.float32), values.shape[:1]))
    parts = {"data": layouts.pack(values, layout), "scale": rows, "sum": row_sums(values)}
    for role, array in parts.items():
        check_part("q8", "int8", values.shape, layout, role, array)
    return parts


def decode(encoding: str, dtype: str, shape: tuple[int, ...], layout: str, data: Array, scale: Array | None) -> Array:
    """The row-major values in the logical `dtype`; `scale` [N] is that of q8."""
    values = layouts.unpack(data, layout, shape)
    if encoding == "dense" or dtype == "int8":
        return values
    assert scale is not None
    return values.astype(np.float32) * scale.reshape((-1,) + (1,) * (len(shape) - 1))
