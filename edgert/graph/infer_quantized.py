"""Shape functions of quantized operators; the type of a quantized output is declared by the graph.
What they compute is in `kernels_cpu/reference/quantized.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import axis_of, broadcast, merge_dims, not_quantized, total
from edgert.graph.infer_conv import check_fused, check_same_shape, conv_shape, split_residual
from edgert.graph.infer_elementwise import FLOATS, one_of, present
from edgert.graph.infer_matmul import matmul_shape
from edgert.graph.infer_pool import global_shape, pooled_shape
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, need, operator

BYTES = ("uint8", "int8")
STORED = (*BYTES, "uint16", "int16")

TABLE_OPERATORS = (
    "Identity", "Relu", "LeakyRelu", "ThresholdedRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Mish", "Tanh",
    "Erf", "Gelu", "Softplus", "Softsign", "Elu", "Celu", "Selu", "Abs", "Neg", "Exp", "Log", "Sqrt",
    "Reciprocal", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh",
    "Cosh", "Asinh", "Acosh", "Atanh",
)  # fmt: skip
"""Float operators of one input that QLinearUnary may name."""


def quantized(value: TensorType | None, what: str, *, per_tensor: bool = True) -> TensorType:
    """`value`, which must be 8-bit integers with a scale. Raises UnsupportedError naming `what`."""
    x = need(value, what)
    one_of(x.dtype, BYTES)
    if x.quant is None:
        check(False, f"{what} with a scale and zero point", "none")
    elif per_tensor:
        check(x.quant.per_tensor, f"{what} with one scale", f"a scale per channel of axis {x.quant.axis}")
    return x


def rows_quantized(w: TensorType, axis: int) -> None:
    """Raises UnsupportedError when weights are quantized along another axis than `axis`."""
    if w.quant is not None and w.quant.axis is not None:
        check(w.quant.axis % len(w.shape) == axis, f"weights quantized along axis {axis}", w.quant.axis)


def stored(shape: Sequence[Dim]) -> list[TensorType]:
    """One quantized output of `shape`: its dtype and quantization are what the graph declares."""
    return [TensorType("uint8", tuple(shape))]


def check_bias_and_residual(node: Node, rest: Sequence[TensorType | None]) -> None:
    """Raises UnsupportedError unless the bias is int32 and the residual quantized per tensor."""
    bias, residual = split_residual(node, rest)
    if bias is not None:
        one_of(bias.dtype, ("int32",))
    if residual is not None:
        quantized(residual, "residual")


@operator("QuantizeLinear", inputs=(1, 1), quantizes=True)
def quantize_linear(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Floats of any shape."""
    (x,) = present(ins)
    not_quantized(x)
    one_of(x.dtype, FLOATS)
    return stored(x.shape)


@operator("DequantizeLinear", inputs=(1, 1))
def dequantize_linear(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Integers with a scale, to float32."""
    (x,) = present(ins)
    one_of(x.dtype, (*STORED, "int32"))
    check(x.quant is not None, "an input with a scale and zero point", "none")
    return [TensorType("float32", x.shape)]


@operator("DynamicQuantizeLinear", inputs=(1, 1))
def dynamic_quantize_linear(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """float32 to uint8 values, a float32 scale and a uint8 zero point."""
    (x,) = present(ins)
    not_quantized(x)
    one_of(x.dtype, ("float32",))
    return [TensorType("uint8", x.shape), TensorType("float32", ()), TensorType("uint8", ())]


@operator("QLinearConv", inputs=(2, 4), quantizes=True)
def qlinear_conv(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x, w (one scale, or one per filter), bias int32, residual."""
    x, w = quantized(ins[0], "x"), quantized(ins[1], "w", per_tensor=False)
    rows_quantized(w, 0)
    shape = conv_shape(node, x, w, ins[2:])
    check_bias_and_residual(node, ins[2:])
    return stored(shape)


@operator("QLinearGemm", inputs=(2, 4), quantizes=True)
def qlinear_gemm(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x [..., K], w [N, K] (one scale, or one per row), bias int32 [N], residual [..., N]."""
    x, w = quantized(ins[0], "x"), quantized(ins[1], "w", per_tensor=False)
    rows_quantized(w, 0)
    check_fused(node)
    check(len(w.shape) == 2 and len(x.shape) >= 1, "w of rank 2 and x of rank 1 or more", (x.shape, w.shape))
    merge_dims((w.shape[1], x.shape[-1]), "K (weights, input)")
    shape = (*x.shape[:-1], w.shape[0])
    bias, residual = split_residual(node, ins[2:])
    if bias is not None:
        check_same_shape(w.shape[:1], bias.shape, "a bias")
    if residual is not None:
        check_same_shape(shape, residual.shape, "a residual")
    check_bias_and_residual(node, ins[2:])
    return stored(shape)


@operator("QLinearMatMul", inputs=(2, 2), quantizes=True)
def qlinear_matmul(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """a and b as numpy.matmul; b with one scale, or one per column."""
    a, b = quantized(ins[0], "a"), quantized(ins[1], "b", per_tensor=False)
    rows_quantized(b, len(b.shape) - 1)
    check_fused(node)
    return stored(matmul_shape(a.shape, b.shape))


@operator("QLinearAdd", "QLinearMul", inputs=(2, 2), quantizes=True)
def qlinear_binary(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Two quantized inputs, broadcast."""
    a, b = quantized(ins[0], "a"), quantized(ins[1], "b")
    check_fused(node)
    return stored(broadcast(a.shape, b.shape))


@operator("QLinearConcat", inputs=(1, None), quantizes=True)
def qlinear_concat(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Inputs that agree on all axes but `axis`, each with its own scale."""
    types = [quantized(t, f"number {i}") for i, t in enumerate(ins)]
    check("axis" in node.attrs, "attribute axis", "none")
    rank = len(types[0].shape)
    axis = axis_of(node.attr_int("axis", 0), rank)
    ranks = [len(t.shape) for t in types]
    check(ranks == [rank] * len(types), "inputs of one rank", f"ranks {ranks}")
    columns = zip(*(t.shape for t in types), strict=True)
    return stored([total(c) if i == axis else merge_dims(c, f"axis {i}") for i, c in enumerate(columns)])


def check_centre(node: Node) -> None:
    """Raises UnsupportedError when halves are to be rounded away from what no byte is."""
    centre = node.attr_int("half_away_from", 0)
    check(0 <= centre <= 255, "half_away_from from 0 to 255", centre)
    check_fused(node)


@operator("QLinearGlobalAveragePool", inputs=(1, 1), quantizes=True)
def qlinear_global_average_pool(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """x [B, C, *S] to [B, C, 1, ...]."""
    check_centre(node)
    return stored(global_shape(quantized(ins[0], "x")))


@operator("QLinearAveragePool", inputs=(1, 1), quantizes=True)
def qlinear_average_pool(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """x [B, C, *S] under the attributes of AveragePool."""
    check_centre(node)
    return stored(pooled_shape(node, quantized(ins[0], "x")))


@operator("QLinearUnary", inputs=(1, 1), quantizes=True)
def qlinear_unary(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Attribute `op` names one of TABLE_OPERATORS."""
    x, op = quantized(ins[0], "x"), node.attr_str("op", "")
    check(op in TABLE_OPERATORS, f"op among {', '.join(TABLE_OPERATORS)}", repr(op))
    check_fused(node)
    return stored(x.shape)


@operator("MatMulInteger", inputs=(2, 4))
def matmul_integer(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """8-bit a and b with optional zero points, to int32."""
    a, b = need(ins[0], "a"), need(ins[1], "b")
    for t in ins:
        one_of(t.dtype if t else "uint8", BYTES)
    return [TensorType("int32", matmul_shape(a.shape, b.shape))]


@operator("MatMulNBits", inputs=(3, 6))
def matmul_nbits(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """a [..., K] and packed b [N, K] with its scales, zero points and bias; see the reference for layouts."""
    a, b, scales = need(ins[0], "a"), need(ins[1], "b"), need(ins[2], "scales")
    n, k = node.attr_int("N", 0), node.attr_int("K", 0)
    bits, block = node.attr_int("bits", 4), node.attr_int("block_size", 32)
    check(n > 0 and k > 0, "attributes N, K > 0", (n, k))
    check(bits in (2, 4, 8), "bits 2, 4 or 8", bits)
    check(block > 0 and block * bits % 8 == 0, "block_size of whole bytes", block)
    blocks = -(-k // block)
    check(len(a.shape) >= 1, "a of rank 1 or more", a.shape)
    merge_dims((k, a.shape[-1]), "K (attribute, input)")
    one_of(a.dtype, FLOATS)
    one_of(b.dtype, ("uint8",))
    check(b.numel == n * blocks * block * bits // 8, f"b of {n * blocks * block * bits // 8} bytes", b.shape)
    check(scales.numel == n * blocks, f"{n * blocks} scales", scales.shape)
    zero, group, bias = ((ins[i] if i < len(ins) else None) for i in (3, 4, 5))
    if zero is not None:
        count = n * -(-blocks * bits // 8) if zero.dtype == "uint8" else n * blocks
        check(zero.numel == count, f"{count} values of zero points", zero.shape)
    check(group is None, "no g_idx", "an input g_idx; quantize without reordering of columns")
    if bias is not None:
        check_same_shape((n,), bias.shape, "a bias")
    return [TensorType(a.dtype, (*a.shape[:-1], n))]
