"""Shape function of Resize; sizes and scales are constants.
What it computes is in `kernels_cpu/reference/resize.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgert.graph.broadcast import axes_of, known_size, not_quantized, product
from edgert.graph.infer_elementwise import FLOATS, one_of
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, need, need_const, operator
from edgert.kernels_cpu.reference.resize import COORDINATES, MODES, NEAREST, choice, resized

MAX_SIDE = 1 << 24
"""Of a resized axis: where each of its positions lies is written into a table when a plan is made."""


def _constant(ins: Sequence[TensorType | None], consts: Sequence[Array | None], at: int) -> Array | None:
    """Value of optional input `at`, None when absent or empty."""
    if at >= len(ins) or ins[at] is None or 0 in need(ins[at], "").shape:
        return None
    return need_const(consts[at], ("roi", "scales", "sizes")[at - 1])


@operator("Resize", inputs=(2, 4))
def resize(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x, roi, scales, sizes. Nearest moves values of any dtype; linear and cubic take floats.

    A named size can be kept, or multiplied by a whole scale.
    """
    x = need(ins[0], "x")
    axes = axes_of(node.attr_ints("axes", list(range(len(x.shape)))) or range(len(x.shape)), len(x.shape))
    if choice(node.attrs, "mode", MODES) != "nearest":
        not_quantized(x)
        one_of(x.dtype, FLOATS)
    kind = choice(node.attrs, "coordinate_transformation_mode", COORDINATES)
    choice(node.attrs, "nearest_mode", NEAREST)
    roi = _constant(ins, consts, 1)
    if kind == "tf_crop_and_resize":
        check(roi is not None and roi.size == 2 * len(axes), f"a roi of {2 * len(axes)} values", roi)
    scales, sizes = _constant(ins, consts, 2), _constant(ins, consts, 3)
    stretch = node.attr_str("keep_aspect_ratio_policy", "stretch") == "stretch"
    if sizes is not None and not stretch:
        for i in axes:
            known_size(x.shape[i], "size to keep the aspect ratio")
    out, factors = resized([d if isinstance(d, int) else 1 for d in x.shape], node.attrs, scales, sizes)
    check(max((out[i] for i in axes), default=0) <= MAX_SIDE, f"sizes of at most {MAX_SIDE}", out)
    shape: list[Dim] = list(out)
    for i, dim in enumerate(x.shape):
        if isinstance(dim, str) and (i not in axes or sizes is None):
            known = dim if factors[i].is_integer() else known_size(dim, f"size to scale by {factors[i]}")
            shape[i] = product([known, int(factors[i])])
        else:
            check(out[i] > 0 or dim == 0, f"a size >= 1 on axis {i}", out[i])
            check(dim != 0 or out[i] == 0, "a size >= 1 to resize", 0)
    return [replace(x, shape=tuple(shape))]
