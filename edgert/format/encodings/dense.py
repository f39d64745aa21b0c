"""`dense`: the values as they are, in the tensor's layout (rules F25, F29, F30, F33).

With a quantization per channel, its scales and zero points are parts beside `data`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgert.errors import FormatError
from edgert.format import layouts
from edgert.format.encodings.base import Encoding, PartSpec, check_padding, check_scale, check_zero_point
from edgert.graph.ir import Array, Quantization


class Dense(Encoding):
    """`data` in the tensor's dtype; if quantized per channel also `scale` float32 [C], `zero_point` int32 [C]."""

    name = "dense"

    def part_specs(self, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None) -> tuple[PartSpec, ...]:
        data = PartSpec("data", dtype, layouts.packed_shape(layout, dtype, shape))
        if axis is None:
            return (data,)
        channels = (shape[axis],)
        return data, PartSpec("scale", "float32", channels), PartSpec("zero_point", "int32", channels)

    def check_part(self, dtype: str, shape: tuple[int, ...], layout: str, role: str, array: Array) -> None:
        if role == "scale":
            check_scale(array)
        elif role == "zero_point":
            check_zero_point(array, dtype)
        else:
            check_padding(array, layout, shape)
            if array.dtype == np.bool_ and array.size and int(array.view(np.uint8).max()) > 1:
                raise FormatError(None, None, "bool values 0 and 1", str(array.view(np.uint8).max()))

    def decode(self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
        return layouts.unpack(parts["data"], layout, shape)


def encode_dense(array: Array, layout: str = "row", quant: Quantization | None = None) -> dict[str, Array]:
    """The parts of a dense tensor. Raises FormatError if the layout is not for such tensors."""
    parts = {"data": layouts.pack(array, layout)}
    if quant is not None and not quant.per_tensor:
        parts |= {"scale": quant.scale, "zero_point": quant.zero_point}
    return parts
