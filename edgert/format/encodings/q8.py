"""`q8`: int8 values, symmetric, one scale per row of the first axis (rules F25, F31, F32).

`data` int8 in the layout, `scale` float32 [N], `sum` int32 [N]: the sum of each row's values, which folds
any activation zero point into the bias. The logical dtype is float32 (the values are scale * data) or int8
(the values are data, and the quantization of the tensor is (scale, 0, axis 0)).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import numpy.typing as npt

from edgert.errors import FormatError
from edgert.format import layouts
from edgert.format.encodings.base import Encoding, PartSpec, check_padding, check_scale
from edgert.format.limits import MAX_Q8_ROW
from edgert.graph.ir import Array

Q8_LIMIT = 127
"""q8 leaves -128 out: negation stays exact and 7-bit pair sums cannot overflow."""


class Q8(Encoding):
    """`data` int8, `scale` float32 [N], `sum` int32 [N], for shape [N, ...]."""

    name = "q8"

    def part_specs(self, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None) -> tuple[PartSpec, ...]:
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

    def check_part(self, dtype: str, shape: tuple[int, ...], layout: str, role: str, array: Array) -> None:
        if role == "scale":
            check_scale(array)
        elif role == "data":
            check_padding(array, layout, shape)
            if array.size and int(array.min()) < -Q8_LIMIT:
                raise FormatError(None, None, f"q8 values of at least {-Q8_LIMIT}", str(array.min()))

    def check_whole(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> None:
        if not np.array_equal(row_sums(layouts.unpack(parts["data"], layout, shape)), parts["sum"]):
            raise FormatError(None, None, "q8 `sum` equal to the sums of the rows", "other values")

    def decode(self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
        values = layouts.unpack(parts["data"], layout, shape)
        if dtype == "int8":
            return values
        return values.astype(np.float32) * parts["scale"].reshape((-1,) + (1,) * (len(shape) - 1))


def row_sums(values: Array) -> npt.NDArray[np.int32]:
    """The sums of the rows [N, ...] of int8 values: int32 [N]."""
    rows = values.reshape(values.shape[0], prod(values.shape[1:]))
    total: npt.NDArray[np.int32] = np.sum(rows, axis=1, dtype=np.int32)
    return total


def encode_q8(values: Array, scale: Array, layout: str = "row") -> dict[str, Array]:
    """The parts of a q8 tensor from int8 `values` [N, ...], at least -127, and `scale` float32 [N] or [].

    Raises FormatError if they break a rule of the encoding.
    """
    encoding = Q8()
    encoding.part_specs(values.dtype.name, values.shape, layout, None)
    rows = np.array(np.broadcast_to(np.asarray(scale, np.float32), values.shape[:1]))
    parts = {"data": layouts.pack(values, layout), "scale": rows, "sum": row_sums(values)}
    for role, array in parts.items():
        encoding.check_part("int8", values.shape, layout, role, array)
    return parts
