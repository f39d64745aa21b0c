"""Operators that move, copy or make values by shape alone: the values themselves do not matter.
Selection by indices or by value is in `select.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.registry import Array, Call, reference


@reference("Identity")
def identity(call: Call, x: Array) -> Array:
    """ONNX Identity."""
    return x


@reference("Shape")
def shape(call: Call, x: Array) -> Array:
    """ONNX Shape: int64 sizes of the axes from `start` to `end`."""
    end = call.attrs.get("end")
    return np.array(x.shape[call.attr_int("start", 0) : None if end is None else int(end)], np.int64)


@reference("Size")
def size(call: Call, x: Array) -> Array:
    """ONNX Size: the number of values, an int64 scalar."""
    return np.array(x.size, np.int64)


@reference("Reshape")
def reshape(call: Call, x: Array, target: Array) -> Array:
    """ONNX Reshape: a 0 in `target` copies the input's size (unless `allowzero`), one -1 takes the rest."""
    sizes = [int(d) for d in target]
    if not call.attr_int("allowzero", 0):
        sizes = [x.shape[i] if d == 0 else d for i, d in enumerate(sizes)]
    return x.reshape(sizes)


@reference("Flatten")
def flatten(call: Call, x: Array) -> Array:
    """ONNX Flatten: 2-D, the axes before `axis` and those from it on."""
    axis = call.attr_int("axis", 1)
    axis += x.ndim if axis < 0 else 0
    outer = int(np.prod(x.shape[:axis], dtype=np.int64))
    return x.reshape(outer, int(np.prod(x.shape[axis:], dtype=np.int64)))


@reference("Transpose")
def transpose(call: Call, x: Array) -> Array:
    """ONNX Transpose: axis `perm[i]` becomes axis i; reversed by default."""
    return np.transpose(x, call.attr_ints("perm", range(x.ndim)[::-1]))


@reference("Squeeze")
def squeeze(call: Call, x: Array, axes: Array | None = None) -> Array:
    """ONNX Squeeze: drops the axes given, or all of size 1."""
    return np.squeeze(x, None if axes is None else tuple(int(a) for a in axes.ravel()))


@reference("Unsqueeze")
def unsqueeze(call: Call, x: Array, axes: Array) -> Array:
    """ONNX Unsqueeze: axes of size 1 at the positions given, counted in the output."""
    return np.expand_dims(x, tuple(int(a) for a in axes.ravel()))


@reference("Expand")
def expand(call: Call, x: Array, target: Array) -> Array:
    """ONNX Expand: x broadcast together with a tensor of shape `target`."""
    sizes = np.broadcast_shapes(x.shape, tuple(int(d) for d in target))
    return np.broadcast_to(x, sizes).copy()


@reference("Tile")
def tile(call: Call, x: Array, repeats: Array) -> Array:
    """ONNX Tile: repeats[i] copies along axis i."""
    return np.tile(x, [int(r) for r in repeats])


@reference("Concat")
def concat(call: Call, *values: Array) -> Array:
    """ONNX Concat along `axis`."""
    return np.concatenate(values, axis=call.attr_int("axis", 0))


@reference("Split")
def split(call: Call, x: Array, sizes: Array | None = None) -> tuple[Array, ...]:
    """ONNX Split along `axis` into the sizes given, or into `num_outputs` parts of which the last may be
    smaller."""
    axis = call.attr_int("axis", 0)
    if sizes is None:
        parts = call.attr_int("num_outputs", len(call.dtype_out))
        cuts = [i * -(-x.shape[axis] // parts) for i in range(1, parts)]
    else:
        cuts = np.cumsum(sizes)[:-1].tolist()
    return tuple(np.split(x, cuts, axis=axis))


@reference("Slice")
def slice_(
    call: Call, x: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None
) -> Array:
    """ONNX Slice: x[start:end:step] along each of `axes` (all in order by default), with Python's rules for
    negative and too large positions."""
    at = range(len(starts)) if axes is None else [int(a) for a in axes]
    by = [1] * len(starts) if steps is None else [int(s) for s in steps]
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(at, starts, ends, by, strict=True):
        index[axis] = slice(int(start), int(end), step)
    return x[tuple(index)]


@reference("Pad")
def pad(call: Call, x: Array, pads: Array, value: Array | None = None, axes: Array | None = None) -> Array:
    """ONNX Pad: `pads` is the starts then the ends for `axes` (all by default); negative ones crop. The
    default constant is 0, which in a quantized tensor is its zero point."""
    mode = call.attr_str("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise UnsupportedError(f"expected Pad mode constant, reflect, edge or wrap, found {mode!r}")
    widths = [(0, 0)] * x.ndim
    at = range(x.ndim) if axes is None else [int(a) for a in axes]
    for axis, start, end in zip(at, pads[: len(at)], pads[len(at) :], strict=True):
        widths[axis] = int(start), int(end)
    x = x[tuple(slice(max(-s, 0), n - max(-e, 0)) for n, (s, e) in zip(x.shape, widths, strict=True))]
    widths = [(max(s, 0), max(e, 0)) for s, e in widths]
    if mode != "constant":
        return np.pad(x, widths, mode=mode)  # type: ignore[call-overload]
    fill: Any = 0 if value is None else value.item()
    quant = call.quant_in[0] if call.quant_in else None
    if value is None and quant is not None:
        fill = quant.zero_point.item()
    return np.pad(x, widths, constant_values=fill)


@reference("ConstantOfShape")
def constant_of_shape(call: Call, target: Array) -> Array:
    """ONNX ConstantOfShape: attribute `value` (a number, default 0) in the dtype of the output."""
    value: Any = call.attrs.get("value", 0)
    return np.full([int(d) for d in target], value[0] if isinstance(value, list) else value, call.dtype_out[0])


@reference("Range")
def range_(call: Call, start: Array, limit: Array, delta: Array) -> Array:
    """ONNX Range: start, start + delta, ... before limit; 1-D."""
    count = range_length(start, limit, delta)
    return np.asarray(start.reshape(()) + np.arange(count).astype(start.dtype) * delta.reshape(()), start.dtype)


def range_length(start: Array, limit: Array, delta: Array) -> int:
    """How many values Range makes: max(ceil((limit - start) / delta), 0)."""
    if delta.item() == 0:
        raise UnsupportedError("expected a Range delta other than 0, found 0")
    if start.dtype.kind in "iu":
        return max(-(-(limit.item() - start.item()) // delta.item()), 0)
    return max(int(np.ceil((float(limit.item()) - float(start.item())) / float(delta.item()))), 0)


@reference("EyeLike")
def eye_like(call: Call, x: Array) -> Array:
    """ONNX EyeLike: ones on diagonal `k` of a matrix of x's shape, in the dtype of the output."""
    return np.eye(x.shape[0], x.shape[1], k=call.attr_int("k", 0), dtype=call.dtype_out[0])


@reference("Trilu")
def trilu(call: Call, x: Array, k: Array | None = None) -> Array:
    """ONNX Trilu: the part of each matrix on and above diagonal k, or on and below with upper=0; else 0."""
    keep = np.triu if call.attr_int("upper", 1) else np.tril
    return keep(x, 0 if k is None else int(k.item()))


@reference("DepthToSpace")
def depth_to_space(call: Call, x: Array) -> Array:
    """ONNX DepthToSpace: [N, C*b*b, H, W] -> [N, C, H*b, W*b]; `mode` DCR takes b, b, C from the channels in
    this order, CRD C, b, b."""
    n, c, h, w = x.shape
    b, mode = call.attr_int("blocksize", 1), call.attr_str("mode", "DCR")
    if mode == "DCR":
        blocks = x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    elif mode == "CRD":
        blocks = x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    else:
        raise UnsupportedError(f"expected DepthToSpace mode DCR or CRD, found {mode!r}")
    return blocks.reshape(n, c // b**2, h * b, w * b)


@reference("SpaceToDepth")
def space_to_depth(call: Call, x: Array) -> Array:
    """ONNX SpaceToDepth: [N, C, H, W] -> [N, b*b*C, H/b, W/b]; `mode` DCR puts b, b, C into the channels in this
    order, CRD C, b, b (opset 28)."""
    n, c, h, w = x.shape
    b = call.attr_int("blocksize", 1)
    order = (0, 3, 5, 1, 2, 4) if call.attr_str("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    blocks = x.reshape(n, c, h // b, b, w // b, b).transpose(order)
    return blocks.reshape(n, c * b * b, h // b, w // b)
