"""Shape functions of quantization and of operators on quantized tensors.
The quantization of an output is declared in the graph's types; `infer_types` carries it over."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import axis_of, broadcast, merge_dims, total
from edgert.graph.infer_elementwise import FLOATS, one_of, present
from edgert.graph.infer_matmul import matmul_shape
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, need, operator
from edgert.kernels_cpu.reference import REFERENCE

BYTES = ("uint8", "int8")


def quantized(ins: Sequence[TensorType | None]) -> list[TensorType]:
    """All inputs, which must be quantized."""
    kinds = present(ins)
    check(all(k.quant is not None for k in kinds), "quantized inputs", "an input without a scale")
    return kinds


@operator("QuantizeLinear", inputs=(1, 1))
def quantize_linear(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Floats to the declared 8-bit (or wider integer) type."""
    x = need(ins[0], "x")
    one_of(x.dtype, (*FLOATS, "int32"))
    return [TensorType("uint8", x.shape)]


@operator("DequantizeLinear", inputs=(1, 1))
def dequantize_linear(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """A quantized tensor to float32."""
    (x,) = quantized(ins)
    return [TensorType("float32", x.shape)]


@operator("DynamicQuantizeLinear", inputs=(1, 1))
def dynamic_quantize(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """uint8 values, a float scale and a uint8 zero point."""
    x = need(ins[0], "x")
    one_of(x.dtype, ("float32",))
    return [TensorType("uint8", x.shape), TensorType("float32", ()), TensorType("uint8", ())]


@operator("QLinearGemm", inputs=(2, 4))
def qlinear_gemm(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x [..., K], w [N, K]: [..., N]."""
    x, w = quantized(ins[:2])
    check(len(w.shape) == 2 and len(x.shape) >= 1, "weights [N, K]", f"shape {w.shape}")
    merge_dims((x.shape[-1], w.shape[1]), "K of input and weights")
    return [TensorType(x.dtype, (*x.shape[:-1], w.shape[0]))]


@operator("QLinearMatMul", inputs=(2, 2))
def qlinear_matmul(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """As MatMul."""
    a, b = quantized(ins)
    return [TensorType(a.dtype, matmul_shape(a.shape, b.shape))]


@operator("QLinearAdd", "QLinearMul", inputs=(2, 2))
def qlinear_binary(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Broadcast."""
    a, b = quantized(ins)
    return [TensorType(a.dtype, broadcast(a.shape, b.shape))]


@operator("QLinearConcat", inputs=(1, None))
def qlinear_concat(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Joined along `axis`; the other sizes agree."""
    kinds = quantized(ins)
    rank = len(kinds[0].shape)
    check(all(len(k.shape) == rank for k in kinds), f"inputs of rank {rank}", [len(k.shape) for k in kinds])
    axis = axis_of(node.attr_int("axis", 0), rank)
    dims = [
        total([k.shape[i] for k in kinds]) if i == axis else merge_dims([k.shape[i] for k in kinds], f"axis {i}")
        for i in range(rank)
    ]
    return [TensorType(kinds[0].dtype, tuple(dims))]


@operator("QLinearUnary", inputs=(1, 1))
def qlinear_unary(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Any unary float operator through a table of all values."""
    (x,) = quantized(ins)
    inner = node.attr_str("op", "")
    check(inner in REFERENCE, "attribute op to name a unary operator", repr(inner))
    return [TensorType(x.dtype, x.shape)]


@operator("MatMulInteger", inputs=(2, 4))
def matmul_integer(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """8-bit a and b, int32 sums."""
    a, b = need(ins[0], "A"), need(ins[1], "B")
    one_of(a.dtype, BYTES)
    one_of(b.dtype, BYTES)
    return [TensorType("int32", matmul_shape(a.shape, b.shape))]


@operator("MatMulNBits", inputs=(3, 6))
def matmul_nbits(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """a [..., K] by packed weights of N rows: [..., N]."""
    a, b = need(ins[0], "A"), need(ins[1], "B")
    n, k, bits = node.attr_int("N", 0), node.attr_int("K", 0), node.attr_int("bits", 4)
    block = node.attr_int("block_size", 32)
    check(n >= 1 and k >= 1 and block >= 16, "attributes N, K >= 1 and block_size >= 16", (n, k, block))
    check(bits in (2, 4, 8), "bits 2, 4 or 8", bits)
    check(len(ins) < 5 or ins[4] is None, "no g_idx", "weights in another order; export without act-order")
    one_of(b.dtype, ("uint8",))
    merge_dims((a.shape[-1], k), "K of input and weights")
    check(b.numel == n * -(-k // block) * (block * bits // 8), f"packed weights for N={n}, K={k}", f"shape {b.shape}")
    return [TensorType(one_of(a.dtype, FLOATS), (*a.shape[:-1], n))]
