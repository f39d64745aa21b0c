"""Shape functions of reductions, positions of extremes and running sums.
What they compute is in `kernels_cpu/reference/reduce.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import axes_of, axis_of, constant_ints, not_quantized, same_quant
from edgert.graph.infer_elementwise import INTEGERS, NUMBERS, one_of, present
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, operator


def reduced_shape(shape: Sequence[Dim], axes: Sequence[int], keepdims: bool) -> tuple[Dim, ...]:
    """`shape` with `axes` (counted from the front) of size 1, or left out."""
    return tuple(1 if i in axes else d for i, d in enumerate(shape) if keepdims or i not in axes)


@operator(
    "ReduceSum", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceSumSquare", "ReduceMax", "ReduceMin", inputs=(1, 2),
)  # fmt: skip
def reduction(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The input's dtype; axes are the second input, all when it is empty (none with `noop_with_empty_axes`).
    Only extremes keep a quantization, as order survives it."""
    (x,) = present(ins[:1])
    extreme = node.op in ("ReduceMax", "ReduceMin")
    if not extreme:
        not_quantized(x)
    one_of(x.dtype, (*NUMBERS, "bool") if extreme else NUMBERS)
    given = constant_ints(consts[1], "axes") if len(ins) > 1 and ins[1] is not None else []
    every = [] if node.attr_int("noop_with_empty_axes", 0) else list(range(len(x.shape)))
    axes = axes_of(given, len(x.shape)) or every
    shape = reduced_shape(x.shape, axes, bool(node.attr_int("keepdims", 1)))
    return [TensorType(x.dtype, shape, same_quant(x))]


@operator("ArgMax", "ArgMin", inputs=(1, 1))
def arg_extremes(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """int64; order survives quantization, so any numbers will do."""
    (x,) = present(ins)
    one_of(x.dtype, NUMBERS)
    axis = axis_of(node.attr_int("axis", 0), len(x.shape))
    check(x.shape[axis] != 0, "something to choose from", f"size 0 on axis {axis}")
    return [TensorType("int64", reduced_shape(x.shape, [axis], bool(node.attr_int("keepdims", 1))))]


@operator("CumSum", "CumProd", inputs=(2, 2))
def cumulative(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The input's type; the axis is a scalar input that need not be constant."""
    x, axis = present(ins)
    not_quantized(x)
    one_of(axis.dtype, INTEGERS)
    check(axis.shape in ((), (1,)), "a scalar axis", f"shape {axis.shape}")
    if consts[1] is not None:
        axis_of(constant_ints(consts[1], "axis")[0], len(x.shape))
    return [TensorType(one_of(x.dtype, NUMBERS), x.shape)]
