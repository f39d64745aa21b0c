"""Shape functions of activation functions: all keep the shape of their input."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import axis_of, broadcast, not_quantized, same_dtype
from edgert.graph.infer_elementwise import FLOATS, NUMBERS, one_of
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, need, operator


@operator(
    "Celu", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Selu", "Sigmoid", "Softplus",
    "Softsign", "Swish", "Tanh", "ThresholdedRelu", inputs=(1, 1),
)  # fmt: skip
def unary(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Floats, elementwise."""
    x = need(ins[0], "X")
    not_quantized(x)
    one_of(x.dtype, FLOATS)
    return [x]


@operator("Relu", inputs=(1, 1))
def relu(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Numbers, elementwise."""
    x = need(ins[0], "X")
    not_quantized(x)
    one_of(x.dtype, NUMBERS)
    return [x]


@operator("Clip", inputs=(1, 3))
def clip(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Bounds are scalars of the input's dtype."""
    x = need(ins[0], "input")
    not_quantized(x)
    for bound in ins[1:]:
        if bound is not None:
            same_dtype(x, bound)
            check(bound.shape in ((), (1,)), "scalar bounds", f"shape {bound.shape}")
    return [x]


@operator("PRelu", inputs=(2, 2))
def prelu(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The slope broadcasts to the input."""
    x, slope = need(ins[0], "X"), need(ins[1], "slope")
    not_quantized(x, slope)
    same_dtype(x, slope)
    check(broadcast(x.shape, slope.shape) == x.shape, f"a slope that broadcasts to {x.shape}", slope.shape)
    return [x]


@operator("Dropout", inputs=(1, 3))
def dropout(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Inference: the input, and a mask of ones."""
    x = need(ins[0], "data")
    return [x, TensorType("bool", x.shape)]


@operator("Softmax", "LogSoftmax", "Hardmax", inputs=(1, 1))
def along_axis(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Floats; `axis` must exist."""
    x = need(ins[0], "input")
    not_quantized(x)
    one_of(x.dtype, FLOATS)
    axis_of(node.attr_int("axis", -1), len(x.shape))
    return [x]
