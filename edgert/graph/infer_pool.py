"""Shape functions of pooling, windowed and global."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.infer_conv import spatial_out
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, need, operator
from edgert.kernels_cpu.reference.window import window


def pooled(node: Node, x: TensorType) -> tuple[Dim, ...]:
    """[B, C, *S] with S pooled by the node's window."""
    check(len(x.shape) >= 3, "an input of rank 3 or more", f"shape {x.shape}")
    kernel = node.attr_ints("kernel_shape", [])
    return (*x.shape[:2], *spatial_out(node, x.shape[2:], kernel, window))


@operator("MaxPool", inputs=(1, 1))
def max_pool(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The maximum keeps dtype and quantization; the second output has int64 indices."""
    x = need(ins[0], "X")
    shape = pooled(node, x)
    return [x.with_shape(shape), TensorType("int64", shape)]


@operator("AveragePool", "LpPool", inputs=(1, 1))
def mean_pool(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Floats; quantized tensors take QLinearAveragePool."""
    x = need(ins[0], "X")
    check(x.quant is None, "an input that is not quantized", "a scale; use QLinearAveragePool")
    return [x.with_shape(pooled(node, x))]


@operator("QLinearAveragePool", inputs=(1, 1))
def qlinear_average_pool(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """As AveragePool; the output's quantization is declared."""
    x = need(ins[0], "X")
    return [TensorType(x.dtype, pooled(node, x))]


def _global(x: TensorType) -> tuple[Dim, ...]:
    check(len(x.shape) >= 2, "an input of rank 2 or more", f"shape {x.shape}")
    return (*x.shape[:2], *[1] * (len(x.shape) - 2))


@operator("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", inputs=(1, 1))
def global_pool(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """[B, C, *S] -> [B, C, 1, ...]; the maximum keeps its quantization."""
    x = need(ins[0], "X")
    check(node.op == "GlobalMaxPool" or x.quant is None, "an input that is not quantized", "a scale; use QLinear forms")
    return [x.with_shape(_global(x))]


@operator("QLinearGlobalAveragePool", inputs=(1, 1))
def qlinear_global_average_pool(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """As GlobalAveragePool; the output's quantization is declared."""
    x = need(ins[0], "X")
    return [TensorType(x.dtype, _global(x))]
