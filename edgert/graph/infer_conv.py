"""Shape functions of convolutions: Conv, ConvTranspose, ConvInteger and QLinearConv.
How windows are resolved is in `kernels_cpu/reference/window.py`, shared with the values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgert.graph.broadcast import derived, merge_dims, not_quantized
from edgert.graph.infer_elementwise import FLOATS, one_of
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, need, operator
from edgert.kernels_cpu.reference.window import Window, transposed_window, window

Resolve = Callable[[Sequence[int], Sequence[int], dict[str, Any]], Window]


def spatial_out(node: Node, spatial: Sequence[Dim], kernel: Sequence[int], resolve: Resolve) -> tuple[Dim, ...]:
    """Output sizes. With named sizes each fixed axis is still resolved; a named one gets a derived name."""
    attrs: dict[str, Any] = dict(node.attrs)
    if all(isinstance(d, int) for d in spatial):
        return resolve([int(d) for d in spatial], kernel, attrs).out
    # any size that fits serves to resolve the fixed axes
    stand_in = [int(d) if isinstance(d, int) else 1 << 16 for d in spatial]
    out = resolve(stand_in, kernel, attrs).out
    key = "".join(f",{attrs[k]}" for k in ("strides", "pads", "dilations", "auto_pad", "ceil_mode") if attrs.get(k))
    name = f"{node.op}[{'x'.join(map(str, kernel))}{key}]".replace(" ", "")
    return tuple(o if isinstance(d, int) else derived(f"{name}({d})") for d, o in zip(spatial, out, strict=True))


def _weights(node: Node, w: TensorType, x: TensorType) -> tuple[int, ...]:
    shape = w.static_shape
    check(len(shape) == len(x.shape) and len(shape) >= 3, f"weights of rank {len(x.shape)}", f"shape {shape}")
    declared = node.attr_ints("kernel_shape", list(shape[2:]))
    check(tuple(declared) == shape[2:], f"kernel_shape {declared} as the weights have it", f"shape {shape}")
    return shape


def _conv_shape(node: Node, x: TensorType, w: TensorType) -> tuple[Dim, ...]:
    shape, group = _weights(node, w, x), node.attr_int("group", 1)
    check(group >= 1 and shape[0] % group == 0, f"filters in {group} equal groups", shape[0])
    merge_dims((x.shape[1], shape[1] * group), "the channels of input and weights")
    return (x.shape[0], shape[0], *spatial_out(node, x.shape[2:], shape[2:], window))


def _extras(node: Node, rest: Sequence[TensorType | None], shape: tuple[Dim, ...]) -> None:
    """Bias [N] and, last when the node says so, a residual of the output's shape."""
    rest = list(rest)
    if node.attr_int("residual", 0):
        check(bool(rest) and rest[-1] is not None, "a residual as the last input", "none")
        residual = need(rest.pop(), "residual")
        check(residual.shape == shape, f"a residual of shape {shape}", residual.shape)
    if rest and rest[0] is not None:
        check(rest[0].shape == (shape[1],), f"a bias of shape ({shape[1]},)", rest[0].shape)


@operator("Conv", inputs=(2, 4))
def conv(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x [B, C, *S], w [N, C / group, *K], bias [N], residual."""
    x, w = need(ins[0], "X"), need(ins[1], "W")
    not_quantized(x)
    shape = _conv_shape(node, x, w)
    _extras(node, ins[2:], shape)
    return [TensorType(one_of(x.dtype, FLOATS), shape)]


@operator("QLinearConv", inputs=(2, 4))
def qlinear_conv(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """As Conv on 8-bit tensors; the output's quantization is declared."""
    x, w = need(ins[0], "X"), need(ins[1], "W")
    check(x.quant is not None and w.quant is not None, "quantized input and weights", "tensors without scales")
    shape = _conv_shape(node, x, w)
    _extras(node, ins[2:], shape)
    return [TensorType(x.dtype, shape)]


@operator("ConvInteger", inputs=(2, 4))
def conv_integer(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """8-bit x and w, int32 sums."""
    x, w = need(ins[0], "x"), need(ins[1], "w")
    one_of(x.dtype, ("int8", "uint8"))
    return [TensorType("int32", _conv_shape(node, x, w))]


@operator("ConvTranspose", inputs=(2, 3))
def conv_transpose(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x [B, C, *S], w [C, N / group, *K], bias [N]."""
    x, w = need(ins[0], "X"), need(ins[1], "W")
    not_quantized(x)
    shape = _weights(node, w, x)
    merge_dims((x.shape[1], shape[0]), "the channels of input and weights")
    check(shape[0] % node.attr_int("group", 1) == 0, "channels in equal groups", shape[0])
    filters = shape[1] * node.attr_int("group", 1)
    out = spatial_out(node, x.shape[2:], shape[2:], transposed_window)
    _extras(node, ins[2:], (x.shape[0], filters, *out))
    return [TensorType(one_of(x.dtype, FLOATS), (x.shape[0], filters, *out))]
