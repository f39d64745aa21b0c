"""Shape functions of convolutions, and of sliding windows over sizes that may be names.
What they compute is in `kernels_cpu/reference/conv.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgert.graph.broadcast import (
    constant_ints,
    derived,
    known_size,
    merge_dims,
    not_quantized,
    product,
    same_dtype,
    total,
)  # fmt: skip
from edgert.graph.infer_elementwise import FLOATS, one_of
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, need, operator
from edgert.kernels_cpu.reference.fused import activations_of
from edgert.kernels_cpu.reference.window import transposed_window, window

PROBE = 1 << 20
"""Size that stands for a named one while the attributes of its window are checked."""


def windowed(spatial: Sequence[Dim], kernel: Sequence[int], node: Node) -> tuple[Dim, ...]:
    """Output positions of a window over `spatial`: ints, or derived names such as `(H+1)//2`.

    Raises UnsupportedError for attributes out of range, and for ceil_mode over a named size.
    """
    win = window([d if isinstance(d, int) else PROBE for d in spatial], kernel, node.attrs)
    out: list[Dim] = list(win.out)
    same = node.attr_str("auto_pad", "NOTSET").startswith("SAME")
    for i, dim in enumerate(spatial):
        if isinstance(dim, int):
            continue
        stride = win.strides[i]
        shift = stride - 1 if same else win.before[i] + win.after[i] - win.extent[i] + stride
        if not same and node.attr_int("ceil_mode", 0):
            known_size(dim, f"size of spatial axis {i} for ceil_mode")
        plain = total([dim, shift])
        out[i] = plain if stride == 1 else derived(f"({plain})//{stride}")
    return tuple(out)


def transposed(spatial: Sequence[Dim], kernel: Sequence[int], node: Node) -> tuple[Dim, ...]:
    """Output positions of a transposed convolution: stride * size + a constant, unless output_shape is given."""
    win = transposed_window([d if isinstance(d, int) else PROBE for d in spatial], kernel, node.attrs)
    out: list[Dim] = list(win.out)
    if not node.attrs.get("output_shape"):
        for i, dim in enumerate(spatial):
            if isinstance(dim, str):
                out[i] = total([product([dim, win.strides[i]]), win.out[i] - PROBE * win.strides[i]])
    return tuple(out)


def check_fused(node: Node) -> None:
    """Raises UnsupportedError for a fused activation that does not exist."""
    kind, known = node.attr_str("activation", ""), activations_of(node.op)
    check(kind in known, f"a fused activation among {known}", repr(kind))


def split_residual(node: Node, rest: Sequence[TensorType | None]) -> tuple[TensorType | None, TensorType | None]:
    """(bias, residual) among the inputs after the weights."""
    if node.attr_int("residual", 0):
        check(bool(rest), "a residual as the last input", "none")
        return (rest[0] if len(rest) > 1 else None), need(rest[-1], "residual")
    check(len(rest) <= 1, "at most one input after the weights", f"{len(rest)}")
    return (rest[0] if rest else None), None


def check_same_shape(a: Sequence[Dim], b: Sequence[Dim], what: str) -> None:
    """Raises UnsupportedError unless shapes agree; a name may turn out to be anything."""
    agree = len(a) == len(b) and all(x == y or str in (type(x), type(y)) for x, y in zip(a, b, strict=True))
    check(agree, f"{what} of shape {tuple(a)}", tuple(b))


def conv_shape(node: Node, x: TensorType, w: TensorType, rest: Sequence[TensorType | None]) -> tuple[Dim, ...]:
    """[B, N, *out] of x [B, C, *S], w [N, C / group, *K], bias [N], residual [B, N, *out] and slopes [N]."""
    check_fused(node)
    kernel = w.static_shape
    check(len(x.shape) >= 3, "an input of rank 3 or more", f"shape {x.shape}")
    check(len(kernel) == len(x.shape), f"weights of rank {len(x.shape)}", f"shape {kernel}")
    group = node.attr_int("group", 1)
    check(group >= 1 and kernel[0] % group == 0, "group >= 1 that divides the filters", f"{group}, {kernel[0]}")
    merge_dims((kernel[1] * group, x.shape[1]), "channels (weights x group, input)")
    given = tuple(node.attr_ints("kernel_shape", list(kernel[2:])))
    check(given == kernel[2:], f"kernel_shape {kernel[2:]} as in the weights", given)
    shape = (x.shape[0], kernel[0], *windowed(x.shape[2:], kernel[2:], node))
    if node.attr_str("activation", "") == "PRelu":
        check(bool(rest), "slopes as the last input", "none")
        check_same_shape((kernel[0],), need(rest[-1], "slopes").shape, "slopes")
        rest = rest[:-1]
    bias, residual = split_residual(node, rest)
    if bias is not None:
        check_same_shape((kernel[0],), bias.shape, "a bias")
    if residual is not None:
        check_same_shape(shape, residual.shape, "a residual")
    return shape


@operator("Conv", inputs=(2, 5))
def conv(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Floats of one dtype; any number of spatial axes."""
    x, w = need(ins[0], "x"), need(ins[1], "w")
    types = [t for t in ins if t is not None]
    not_quantized(*types)
    dtype = one_of(same_dtype(*types), FLOATS)
    return [TensorType(dtype, conv_shape(node, x, w, ins[2:]))]


@operator("ConvTranspose", inputs=(2, 3))
def conv_transpose(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x [B, C, *S], w [C, N / group, *K], bias [N] to [B, N, *out]."""
    x, w = need(ins[0], "x"), need(ins[1], "w")
    types = [t for t in ins if t is not None]
    not_quantized(*types)
    check_fused(node)
    kernel, group = w.static_shape, node.attr_int("group", 1)
    check(len(x.shape) >= 3, "an input of rank 3 or more", f"shape {x.shape}")
    check(len(kernel) == len(x.shape), f"weights of rank {len(x.shape)}", f"shape {kernel}")
    check(group >= 1 and kernel[0] % group == 0, "group >= 1 that divides the channels", f"{group}, {kernel[0]}")
    merge_dims((kernel[0], x.shape[1]), "channels (weights, input)")
    if len(types) > 2:
        check_same_shape((kernel[1] * group,), types[2].shape, "a bias")
    shape = (x.shape[0], kernel[1] * group, *transposed(x.shape[2:], kernel[2:], node))
    return [TensorType(one_of(same_dtype(*types), FLOATS), shape)]


@operator("ConvInteger", inputs=(2, 4))
def conv_integer(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """8-bit x and w with optional zero points, to int32."""
    x, w = need(ins[0], "x"), need(ins[1], "w")
    for t in (x, w):
        one_of(t.dtype, ("uint8", "int8"))
    return [TensorType("int32", conv_shape(node, x, w, ()))]


@operator("Col2Im", inputs=(3, 3))
def col2im(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Columns [B, C * prod(block), L] and the values of image_shape [r] and block_shape [r] to [B, C, *image]."""
    x = need(ins[0], "input")
    image, block = constant_ints(consts[1], "image_shape"), constant_ints(consts[2], "block_shape")
    check(len(x.shape) == 3, "an input of rank 3", f"shape {x.shape}")
    check(len(image) == len(block) >= 1, "an image and a block of one rank", (image, block))
    places, taps = math.prod(window(image, block, node.attrs).out), math.prod(block)
    merge_dims((places, x.shape[2]), "positions of the block (image, input)")
    channels = known_size(x.shape[1], "number of channels")
    check(channels % taps == 0, f"channels in blocks of {taps}", channels)
    return [TensorType(x.dtype, (x.shape[0], channels // taps, *image))]
