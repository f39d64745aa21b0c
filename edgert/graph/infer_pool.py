"""Shape functions of pooling, local and global.
What they compute is in `kernels_cpu/reference/pool.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgert.graph.broadcast import constant_ints, not_quantized
from edgert.graph.infer_conv import check_same_shape, windowed
from edgert.graph.infer_elementwise import FLOATS, one_of, present
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, need, operator
from edgert.kernels_cpu.reference.pool import unpooled


def pooled_shape(node: Node, x: TensorType) -> tuple[Dim, ...]:
    """[B, C, *out] of x [B, C, *S] under kernel_shape, strides, pads, dilations, auto_pad and ceil_mode."""
    check(len(x.shape) >= 3, "an input of rank 3 or more", f"shape {x.shape}")
    check("kernel_shape" in node.attrs, "attribute kernel_shape", "none")
    return (*x.shape[:2], *windowed(x.shape[2:], node.attr_ints("kernel_shape", []), node))


def global_shape(x: TensorType) -> tuple[Dim, ...]:
    """[B, C, 1, ...]."""
    check(len(x.shape) >= 3, "an input of rank 3 or more", f"shape {x.shape}")
    return (*x.shape[:2], *(1,) * (len(x.shape) - 2))


@operator("MaxPool", inputs=(1, 1))
def max_pool(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Order survives quantization, so a quantized input is passed on as it is; indices are int64."""
    (x,) = present(ins)
    shape = pooled_shape(node, x)
    one_of(x.dtype, (*FLOATS, "int8", "uint8"))
    order = node.attr_int("storage_order", 0)
    check(order in (0, 1), "storage_order 0 or 1", order)
    return [replace(x, shape=shape), TensorType("int64", shape)]


@operator("AveragePool", "LpPool", inputs=(1, 1))
def float_pool(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Floats."""
    (x,) = present(ins)
    not_quantized(x)
    return [TensorType(one_of(x.dtype, FLOATS), pooled_shape(node, x))]


@operator("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", inputs=(1, 1))
def global_pool(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Floats."""
    (x,) = present(ins)
    not_quantized(x)
    return [TensorType(one_of(x.dtype, FLOATS), global_shape(x))]


@operator("MaxUnpool", inputs=(2, 3))
def max_unpool(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Values and flat int64 places of MaxPool, and the value of the output shape if given. Each size is at least
    what the window covered, (n - 1) * stride + kernel - pads."""
    x, places = need(ins[0], "x"), need(ins[1], "indices")
    one_of(places.dtype, ("int64",))
    check_same_shape(x.shape, places.shape, "indices")
    covered = unpooled(x.static_shape, node.attrs)
    if len(ins) < 3 or ins[2] is None:
        return [replace(x, shape=covered)]
    shape = tuple(constant_ints(consts[2], "output_shape"))
    holds = len(shape) == len(covered) and all(a >= b for a, b in zip(shape, covered, strict=True))
    check(holds, f"an output_shape of at least {covered}", shape)
    return [replace(x, shape=shape)]
