"""Shape functions of normalization: the output has the input's shape, the parameters must fit."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import axis_of, broadcast, merge_dims, not_quantized
from edgert.graph.infer_elementwise import FLOATS, one_of
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, need, operator


def _input(ins: Sequence[TensorType | None], least_rank: int) -> TensorType:
    x = need(ins[0], "X")
    not_quantized(x)
    one_of(x.dtype, FLOATS)
    check(len(x.shape) >= least_rank, f"an input of rank {least_rank} or more", f"shape {x.shape}")
    return x


@operator("BatchNormalization", inputs=(5, 5))
@operator("InstanceNormalization", "GroupNormalization", inputs=(3, 3))
def per_channel(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x [B, C, ...]; every parameter is [C]."""
    x = _input(ins, 2)
    for i, parameter in enumerate(ins[1:], 1):
        kind = need(parameter, f"number {i}")
        check(len(kind.shape) == 1, "parameters of shape [C]", f"shape {kind.shape}")
        merge_dims((x.shape[1], kind.shape[0]), "the channels of input and parameters")
    if node.op == "GroupNormalization" and isinstance(x.shape[1], int):
        groups = node.attr_int("num_groups", 0)
        check(groups >= 1 and x.shape[1] % groups == 0, "channels in num_groups equal groups", groups)
    return [x]


@operator("LayerNormalization", inputs=(2, 3))
def layer_normalization(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """Also the mean and 1 / std, with the normalized axes as 1."""
    x = _input(ins, 1)
    axis = axis_of(node.attr_int("axis", -1), len(x.shape))
    for parameter in ins[1:]:
        if parameter is not None:
            check(broadcast(x.shape, parameter.shape) == x.shape, f"a parameter that broadcasts to {x.shape}",
                  parameter.shape)  # fmt: skip
    statistics = TensorType("float32", (*x.shape[:axis], *[1] * (len(x.shape) - axis)))
    return [x, statistics, statistics]


@operator("RMSNormalization", inputs=(2, 2))
def rms_normalization(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The scale broadcasts to the input."""
    x, scale = _input(ins, 1), need(ins[1], "scale")
    axis_of(node.attr_int("axis", -1), len(x.shape))
    check(broadcast(x.shape, scale.shape) == x.shape, f"a scale that broadcasts to {x.shape}", scale.shape)
    return [x]


@operator("LRN", "LpNormalization", "MeanVarianceNormalization", inputs=(1, 1))
def alone(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """No parameters but attributes."""
    return [_input(ins, 1)]
