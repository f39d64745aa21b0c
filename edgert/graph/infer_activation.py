"""Shape functions of activations and the softmax family: the shape stays.
What they compute is in `kernels_cpu/reference/activation.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import axis_of, broadcast, not_quantized, same_dtype
from edgert.graph.infer_elementwise import FLOATS, NUMBERS, SIGNED, one_of, present
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, need, operator


@operator(
    "LeakyRelu", "ThresholdedRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Mish", "Tanh", "Erf",
    "Gelu", "Softplus", "Softsign", "Elu", "Celu", "Selu", inputs=(1, 1),
)  # fmt: skip
def float_unary(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Floats of any shape."""
    (x,) = present(ins)
    not_quantized(x)
    kind = node.attr_str("approximate", "none")
    check(kind in ("none", "tanh"), "approximate 'none' or 'tanh'", repr(kind))
    return [TensorType(one_of(x.dtype, FLOATS), x.shape)]


@operator("Relu", inputs=(1, 1))
def relu(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Signed numbers of any shape."""
    (x,) = present(ins)
    not_quantized(x)
    return [TensorType(one_of(x.dtype, SIGNED), x.shape)]


@operator("Clip", inputs=(1, 3))
def clip(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Numbers of any shape, and scalar bounds of the same dtype: of a quantized tensor, bounds of stored values."""
    x = need(ins[0], "input")
    given = [t for t in ins if t is not None]
    not_quantized(*given[1:])
    for bound in given[1:]:
        check(bound.numel == 1, "a scalar bound", f"shape {bound.shape}")
    return [TensorType(one_of(same_dtype(*given), NUMBERS), x.shape, x.quant)]


@operator("PRelu", inputs=(2, 2))
def prelu(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Numbers; the slope broadcasts to x."""
    x, slope = present(ins)
    not_quantized(x, slope)
    check(broadcast(x.shape, slope.shape) == x.shape, f"a slope that broadcasts to {x.shape}", slope.shape)
    return [TensorType(one_of(same_dtype(x, slope), NUMBERS), x.shape)]


@operator("Dropout", inputs=(1, 3))
def dropout(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The input's type, and a bool mask."""
    x = need(ins[0], "data")
    return [x, TensorType("bool", x.shape)]


@operator("Softmax", "LogSoftmax", "Hardmax", inputs=(1, 1))
def softmax(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Floats; `axis` (-1) within the rank."""
    (x,) = present(ins)
    not_quantized(x)
    axis_of(node.attr_int("axis", -1), len(x.shape))
    return [TensorType(one_of(x.dtype, FLOATS), x.shape)]
