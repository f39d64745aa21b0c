"""Shape functions of normalizations: the shape of the first output is that of the input.
What they compute is in `kernels_cpu/reference/norm.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import axes_of, axis_of, broadcast, merge_dims, not_quantized
from edgert.graph.infer_elementwise import FLOATS, one_of, present
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, need, operator


def _floats(ins: Sequence[TensorType | None]) -> list[TensorType]:
    """All of `ins`, which must be floats that are not quantized."""
    types = present(ins)
    not_quantized(*types)
    for t in types:
        one_of(t.dtype, FLOATS)
    return types


def _per_channel(x: TensorType, others: Sequence[TensorType]) -> list[TensorType]:
    """x [B, C, ...] with `others` [C]."""
    check(len(x.shape) >= 2, "an input of rank 2 or more", f"shape {x.shape}")
    for t in others:
        check(len(t.shape) == 1, "parameters of rank 1", f"shape {t.shape}")
        merge_dims((x.shape[1], t.shape[0]), "channels (input, parameter)")
    return [TensorType(x.dtype, x.shape)]


@operator("BatchNormalization", inputs=(5, 5))
def batch_normalization(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """x [B, C, ...] and four [C]; inference only."""
    x, *others = _floats(ins)
    check(not node.attr_int("training_mode", 0), "training_mode 0", "1; export for inference")
    return _per_channel(x, others)


@operator("InstanceNormalization", inputs=(3, 3))
def instance_normalization(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """x [B, C, *S], scale and bias [C]."""
    x, *others = _floats(ins)
    return _per_channel(x, others)


@operator("GroupNormalization", inputs=(3, 3))
def group_normalization(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """x [B, C, *S], scale and bias [C]; num_groups divides C."""
    x, *others = _floats(ins)
    out, groups = _per_channel(x, others), node.attr_int("num_groups", 0)
    channels = others[0].shape[0]
    good = groups >= 1 and isinstance(channels, int) and channels % groups == 0
    check(good, f"num_groups that divides {channels} channels", groups)
    return out


@operator("LayerNormalization", inputs=(2, 3))
def layer_normalization(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """x, scale and bias that broadcast to it; then mean and 1 / std, of size 1 from `axis` on, float32."""
    x, *others = _floats([t for t in ins if t is not None])
    need(ins[1], "scale")
    axis = axis_of(node.attr_int("axis", -1), len(x.shape))
    for t in others:
        check(broadcast(x.shape, t.shape) == x.shape, f"parameters that broadcast to {x.shape}", t.shape)
    reduced = (*x.shape[:axis], *(1,) * (len(x.shape) - axis))
    statistics = TensorType("float64" if x.dtype == "float64" else "float32", reduced)
    return [TensorType(x.dtype, x.shape), statistics, statistics]


@operator("RMSNormalization", inputs=(2, 2))
def rms_normalization(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x, and a scale that broadcasts to it."""
    x, scale = _floats(ins)
    axis_of(node.attr_int("axis", -1), len(x.shape))
    check(broadcast(x.shape, scale.shape) == x.shape, f"a scale that broadcasts to {x.shape}", scale.shape)
    return [TensorType(x.dtype, x.shape)]


@operator("LRN", inputs=(1, 1))
def lrn(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x [B, C, ...]; `size` channels are summed."""
    (x,) = _floats(ins)
    check(len(x.shape) >= 2, "an input of rank 2 or more", f"shape {x.shape}")
    check(node.attr_int("size", 0) >= 1, "size >= 1", node.attr_int("size", 0))
    return [TensorType(x.dtype, x.shape)]


@operator("MeanVarianceNormalization", inputs=(1, 1))
def mean_variance_normalization(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """`axes` ([0, 2, 3]) within the rank."""
    (x,) = _floats(ins)
    axes_of(node.attr_ints("axes", [0, 2, 3]), len(x.shape))
    return [TensorType(x.dtype, x.shape)]


@operator("LpNormalization", inputs=(1, 1))
def lp_normalization(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """`axis` (-1) within the rank, `p` 1 or 2."""
    (x,) = _floats(ins)
    axis_of(node.attr_int("axis", -1), len(x.shape))
    check(node.attr_int("p", 2) in (1, 2), "p 1 or 2", node.attr_int("p", 2))
    return [TensorType(x.dtype, x.shape)]
