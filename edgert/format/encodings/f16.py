"""`f16`: numbers that are logically float32, stored in half precision (rule F42).

For tables that are looked up, such as embeddings, for weights that shall lose almost nothing, and for those that lose
nothing, as a model with float16 weights has.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgert.errors import FormatError
from edgert.format import layouts
from edgert.format.encodings.base import Encoding, PartSpec, check_padding
from edgert.graph.ir import Array


class F16(Encoding):
    """`data` float16 in layout row, n4k1 or n16k1."""

    name = "f16"
    wide = "dense"

    def part_specs(self, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None) -> tuple[PartSpec, ...]:
        if dtype != "float32" or layout not in ("row", "n4k1", "n16k1"):
            raise FormatError(
                None, None, "float32 in layout row, n4k1 or n16k1 for encoding f16", f"{dtype} in layout {layout}"
            )
        return (PartSpec("data", "float16", layouts.packed_shape(layout, "float16", shape)),)

    def check_part(self, dtype: str, shape: tuple[int, ...], layout: str, role: str, array: Array) -> None:
        check_padding(array, layout, shape)

    def decode(self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
        return layouts.unpack(parts["data"], layout, shape).astype(np.float32)

    def widen(self, parts: Mapping[str, Array]) -> dict[str, Array]:
        return {"data": parts["data"].astype(np.float32)}


def encode_f16(array: Array, layout: str = "row") -> dict[str, Array]:
    """The parts of an f16 tensor from floating-point `array`, rounded to nearest even.

    Raises FormatError if a finite number is beyond the range of half precision (65504).
    """
    F16().part_specs("float32", array.shape, layout, None)
    if array.dtype.kind != "f":
        raise FormatError(None, None, "floating-point values for encoding f16", array.dtype.name)
    with np.errstate(over="ignore"):
        half = array.astype(np.float16, copy=False)
    if half is not array and not np.array_equal(np.isinf(half), np.isinf(array)):
        largest = np.abs(array[np.isfinite(array)]).max()
        raise FormatError(None, None, "values of at most 65504 for encoding f16", str(largest), "store it dense")
    return {"data": layouts.pack(half, layout)}
