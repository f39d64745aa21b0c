"""Shape functions of selections whose size depends on values: Unique, Compress and NonMaxSuppression.
What they compute is in `kernels_cpu/reference/unique.py` and `regions.py`; NonZero is in `infer_select.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgert.graph.broadcast import axis_of, known_size, merge_dims, not_quantized, product, same_dtype, same_quant
from edgert.graph.infer_conv import check_same_shape
from edgert.graph.infer_elementwise import FLOATS, INTEGERS, one_of, present
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, need, need_const, operator
from edgert.kernels_cpu.reference import evaluate

SIZE_DEPENDS = "because the output's size depends on its values"


@operator("Unique", inputs=(1, 1), dynamic=True)
def unique(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The distinct values, or slices along `axis`, and three int64 vectors: first places, the distinct value of
    each place, and counts."""
    (x,) = present(ins)
    value = need_const(consts[0], f"input, {SIZE_DEPENDS}")
    axis = axis_of(node.attr_int("axis", 0), len(x.shape)) if "axis" in node.attrs else None
    check(axis is None or value.size > 0, "at least one value to compare along an axis", f"shape {value.shape}")
    count = len(np.unique(value, axis=axis)) if axis is None else np.unique(value, axis=axis).shape[axis]
    shape: tuple[Dim, ...] = (count,) if axis is None else (*x.shape[:axis], count, *x.shape[axis + 1 :])
    places = value.size if axis is None else value.shape[axis]
    vectors = [TensorType("int64", (n,)) for n in (count, places, count)]
    return [TensorType(x.dtype, shape, same_quant(x)), *vectors]


@operator("Compress", inputs=(2, 2), dynamic=True)
def compress(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The places along `axis`, or of the flattened input, where the bool vector `condition` is true."""
    x, condition = present(ins)
    one_of(condition.dtype, ("bool",))
    check(len(condition.shape) == 1, "a condition of rank 1", f"shape {condition.shape}")
    axis = axis_of(node.attr_int("axis", 0), len(x.shape)) if "axis" in node.attrs else None
    size, chosen = product(x.shape) if axis is None else x.shape[axis], need_const(consts[1], "condition")
    check(chosen.size <= known_size(size, "number of places"), f"a condition of at most {size} values", chosen.size)
    count = int(np.count_nonzero(chosen))
    shape: tuple[Dim, ...] = (count,) if axis is None else (*x.shape[:axis], count, *x.shape[axis + 1 :])
    return [TensorType(x.dtype, shape, same_quant(x))]


@operator("NonMaxSuppression", inputs=(2, 5), dynamic=True)
def non_max_suppression(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """boxes [B, N, 4], scores [B, C, N], and scalars: most boxes per class (int64), overlap, least score; int64
    [selected, 3]."""
    boxes, scores = need(ins[0], "boxes"), need(ins[1], "scores")
    not_quantized(boxes, scores)
    one_of(same_dtype(boxes, scores), FLOATS)
    check(len(boxes.shape) == len(scores.shape) == 3, "boxes and scores of rank 3", (boxes.shape, scores.shape))
    check_same_shape((boxes.shape[0], "classes", boxes.shape[1]), scores.shape, "scores")
    merge_dims((4, boxes.shape[2]), "coordinates of a box")
    check(node.attr_int("center_point_box", 0) in (0, 1), "center_point_box 0 or 1", node.attrs)
    for i, kinds in ((2, INTEGERS), (3, FLOATS), (4, FLOATS)):
        limit = ins[i] if i < len(ins) else None
        if limit is not None:
            one_of(limit.dtype, kinds)
            check(limit.shape in ((), (1,)), "a scalar limit", f"shape {limit.shape}")
    values = [None if t is None else need_const(consts[i], f"input {i}, {SIZE_DEPENDS}") for i, t in enumerate(ins)]
    (selected,) = evaluate(node.op, values, node.attrs)
    return [TensorType("int64", (len(selected), 3))]
