"""Shape function of RoundTo, the rounding to element types narrower than NumPy has.
What those are is in `kernels_cpu/reference/narrow.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import not_quantized
from edgert.graph.infer_elementwise import present
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, operator
from edgert.kernels_cpu.reference.narrow import NARROW, held


@operator("RoundTo", inputs=(1, 1))
def round_to(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Numbers of any shape, to the dtype that holds the narrow type `to`."""
    (x,) = present(ins)
    not_quantized(x)
    to, mode = node.attr_str("to", ""), node.attr_str("round_mode", "up")
    check(to in NARROW, f"attribute 'to' to be one of {', '.join(NARROW)}", repr(to))
    check(mode in ("up", "down", "nearest"), "round_mode up, down or nearest", repr(mode))
    return [TensorType(held(to), x.shape)]
