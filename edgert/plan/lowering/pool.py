"""Pooling, local and global, of float planes (kp) and of bytes (k4p).

Windows reach the kernels resolved: pads, dilations and ceil_mode are numbers by then, and what every average is
divided by is a table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgert.graph.ir import Array, TensorType
from edgert.kernels_cpu.norm import REDUCE
from edgert.kernels_cpu.reference.pool import window_counts
from edgert.kernels_cpu.reference.quantization import ratio
from edgert.kernels_cpu.reference.window import Window, window
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, layout_nbytes, lowers
from edgert.plan.lowering.requantize import activation_bytes, shift
from edgert.plan.lowering.shapes import (
    Planes,
    act_byte,
    flip,
    has_planes,
    is_constant,
    per_tensor,
    plane_layout,
    same_quant,
    split,
    too_large,
)  # fmt: skip

NEGATIVE_INFINITY = -(1 << 23)
"""The bits of float32 -infinity as a signed 32-bit param."""
MORE = 2.0**-21
"""By how much more than its value a half is taken to be, so that it is not rounded to even: over two float32 steps."""
MAX_HALVES = 3072
"""Values whose mean is still right then: other means are at least 1 / (2 * 3072) from a half, over 255 * MORE."""
MAX_SUM_PIXELS = 2**31 // 255
"""Pixels of bytes whose sum fits in 32 bits."""


def _resolve(site: Site, kernel: str) -> Window | Refusal:
    """The window of a pooling node over [N, C, W] or [N, C, H, W], or why there is none."""
    x = site.inputs[0]
    if x is None or is_constant(site, 0) or not has_planes(x) or len(x.shape) < 3:
        return Refusal(kernel, "expected an activation [N, C, W] or [N, C, H, W]")
    if len([name for name in site.node.outputs if name]) > 1:
        return Refusal(kernel, "the indices of maxima are not computed")
    return window(x.static_shape[2:], site.node.attr_ints("kernel_shape", []), site.node.attrs)


def _window_params(win: Window, planes: int, x: Planes, y: Planes) -> dict[str, int]:
    """Params of the window kernels; 1-D windows have one row."""
    one = 2 - len(win.kernel)
    kernel, strides, dilations = (
        (1,) * one + v for v in (win.kernel, win.strides, win.dilations)
    )  # fmt: skip
    height, width = (1,) * one + x.spatial
    out_height, out_width = (1,) * one + y.spatial
    top, left = (0,) * one + win.before
    # whole vectors of output columns, at the widest level, read this far
    reach = max((-(-out_width // 16) * 16 - 1) * strides[1] + (kernel[1] - 1) * dilations[1] + 1, left + width)
    return {
        "planes": planes, "height": height, "width": width, "out_height": out_height, "out_width": out_width,
        "kernel_h": kernel[0], "kernel_w": kernel[1], "stride_h": strides[0], "stride_w": strides[1],
        "dilation_h": dilations[0], "dilation_w": dilations[1], "top": top, "left": left, "reach": reach,
        "x_plane": 4 * x.padded, "y_plane": 4 * y.padded,
    }  # fmt: skip


def _offer(
    site: Site, kernel: str, layout: str, win: Window, extra: dict[str, int | float], table: Array | None,
    rows: int, efficiency: float,
) -> Offer | Refusal:  # fmt: skip
    """rows: rows of scratch, each of `reach` pixels and two vectors."""
    kind, y = site.inputs[0], site.outputs[0]
    assert kind is not None
    planes = Planes.of(kind)
    count = planes.batch * (planes.groups if layout == "k4p" else planes.channels)
    params: dict[str, int | float] = {**_window_params(win, count, planes, Planes.of(y)), **extra}
    nbytes = layout_nbytes(kind, layout) + layout_nbytes(y, layout)
    taps = int(np.prod(win.kernel))
    units = count * int(params["out_height"])
    chunks = split(site.threads, units, 2 * nbytes, layout_nbytes(y, layout) * taps // 4)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        divisors = emitter.constant(table) if table is not None else None
        scratch = rows * (4 * int(params["reach"]) + 2 * 64) + 64
        operands = {"x": inputs[0], "table": divisors, "y": outputs[0]}
        emitter.op(kernel, operands, params, chunks=chunks, scratch=scratch)

    absent = (None,) * (len(site.inputs) - 1)
    return too_large(kernel, nbytes) or Offer(
        kernel, (layout, *absent), (layout,) * len(site.outputs), 0, nbytes, "bytes", efficiency,
        f"{'x'.join(map(str, win.kernel))} window over planes, rows before columns", emit,
    )  # fmt: skip


@lowers("MaxPool")
def max_pool(site: Site) -> Offer | Refusal:
    """uint8 in k4p, float32 in kp."""
    win = _resolve(site, "pool_max")
    if isinstance(win, Refusal):
        return win
    x, y = site.inputs[0], site.outputs[0]
    assert x is not None
    if x.dtype == "float32":
        return _offer(site, "pool_max_f32_kp", "kp", win, {"identity": NEGATIVE_INFINITY}, None, 1, 0.17)
    if x.dtype != "uint8" or not same_quant(x, y):
        return Refusal("pool_max", f"expected float32, or uint8 of the same scale, found {x.dtype}")
    lowest = act_byte(site.level, 0) & 255
    identity = int(np.array([lowest * 0x01010101], np.uint32).view(np.int32)[0])
    return _offer(site, "pool_max_q8_k4p", "k4p", win, {"identity": identity}, None, 1, 0.17)


def _counts(site: Site, win: Window, x: TensorType) -> Array:
    """How many values each output averages, at least 1: [*out]."""
    pad = bool(site.node.attr_int("count_include_pad", 0))
    return np.maximum(window_counts(x.static_shape[2:], win, count_pad=pad), 1)


@lowers("AveragePool")
def average_pool(site: Site) -> Offer | Refusal:
    kernel = "pool_average_f32_kp"
    win = _resolve(site, kernel)
    if isinstance(win, Refusal):
        return win
    x = site.inputs[0]
    assert x is not None
    if x.dtype != "float32":
        return Refusal(kernel, f"expected float32, found {x.dtype}")
    table = _counts(site, win, x).astype(np.float32).reshape(-1)
    return _offer(site, kernel, "kp", win, {"identity": 0}, table, 1, 0.14)


@dataclass(frozen=True)
class _Means:
    """Numbers of a quantized average: multipliers of the sums (of values less x_zero), and y_zero.

    Halves go to even values; away from one, `half_away_from`, where the node says so. Then sums count from there, and
    multipliers are a little more than 1 / count: enough for halves, and for nothing else.
    """

    multipliers: Array
    x_zero: int
    y_zero: int

    @classmethod
    def of(cls, site: Site, counts: Array) -> _Means | None:
        x, y, node = site.inputs[0], site.outputs[0], site.node
        assert x is not None and x.quant is not None and y.quant is not None
        if "half_away_from" not in node.attrs:
            scale = ratio((x.quant.scale,), y.quant.scale.astype(np.float64) * counts)
            return cls(scale, int(x.quant.zero_point), int(y.quant.zero_point))
        if not same_quant(x, y) or counts.max(initial=0) > MAX_HALVES:
            return None
        centre = node.attr_int("half_away_from", 0)
        return cls(((1 + MORE) / counts).astype(np.float32), centre, centre)


@lowers("QLinearAveragePool")
def average_pool_q8(site: Site) -> Offer | Refusal:
    kernel = "pool_average_q8_k4p"
    win = _resolve(site, kernel)
    if isinstance(win, Refusal):
        return win
    x, y = site.inputs[0], site.outputs[0]
    assert x is not None
    quant_x, quant_y = per_tensor(x), per_tensor(y)
    if quant_x is None or quant_y is None or x.quant is None or y.quant is None:
        return Refusal(kernel, "expected uint8 activations with one scale each")
    means = _Means.of(site, _counts(site, win, x))
    if means is None:
        return Refusal(kernel, f"exact halves of more than {MAX_HALVES} values, or of another scale")
    low, high = activation_bytes(site.node, y, site.level)
    extra: dict[str, int | float] = {
        "x_zero": means.x_zero - shift(site.level), "zero_point": means.y_zero - shift(site.level),
        "low": low, "high": high,
    }  # fmt: skip
    table = means.multipliers.reshape(-1)
    return _offer(site, kernel, "k4p", win, extra, table, 4, 0.1)


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(site: Site) -> list[Offer | Refusal]:
    """float32 planes to one value per channel, in kp or row."""
    kernel = "reduce_f32_row"
    x = site.inputs[0]
    if x is None or x.dtype != "float32" or is_constant(site, 0) or not has_planes(x):
        return [Refusal(kernel, "expected float32 activations [N, C, W] or [N, C, H, W]")]
    planes = Planes.of(x)
    rows, op = planes.batch * planes.channels, "Mean" if site.node.op == "GlobalAveragePool" else "Max"
    offers: list[Offer | Refusal] = []
    for source, target in (("kp", "kp"), ("kp", "row"), ("row", "row")):
        params = {
            "op": REDUCE.index(op), "rows": rows, "count": planes.pixels,
            "x_row": 4 * (planes.padded if source == "kp" else planes.pixels),
            "y_row": 64 if target == "kp" else 4,
        }  # fmt: skip
        offers.append(_reduction(site, x, kernel, source, target, params, rows))
    return offers


def _reduction(
    site: Site, x: TensorType, kernel: str, source: str, target: str,
    params: dict[str, int] | dict[str, int | float], rows: int,
) -> Offer | Refusal:  # fmt: skip
    nbytes = layout_nbytes(x, source)
    chunks = split(site.threads, rows, nbytes)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        emitter.op(kernel, {"x": inputs[0], "y": outputs[0]}, params, chunks=chunks)

    return too_large(kernel, nbytes) or Offer(
        kernel,
        (source,),
        (target,),
        0,
        nbytes,
        "bytes",
        0.4 if kernel == "reduce_f32_row" else 0.14,
        f"one value per channel, to {target}",
        emit,
    )


@lowers("QLinearGlobalAveragePool")
def global_average_pool_q8(site: Site) -> list[Offer | Refusal]:
    """k4p to one value per channel, in k4p or row."""
    kernel = "pool_global_average_q8_k4p"
    x, y = site.inputs[0], site.outputs[0]
    quants = (per_tensor(x) if x is not None else None), per_tensor(y)
    if x is None or quants[0] is None or quants[1] is None or x.quant is None or y.quant is None:
        return [Refusal(kernel, "expected uint8 activations with one scale each")]
    if plane_layout(x) != "k4p" or is_constant(site, 0) or Planes.of(x).pixels > MAX_SUM_PIXELS:
        return [Refusal(kernel, f"expected activations of at most {MAX_SUM_PIXELS} pixels, found {list(x.shape)}")]
    planes, offset = Planes.of(x), shift(site.level)
    means = _Means.of(site, np.array(planes.pixels))
    if means is None:
        return [Refusal(kernel, f"exact halves of more than {MAX_HALVES} values, or of another scale")]
    low, high = activation_bytes(site.node, y, site.level)
    offers: list[Offer | Refusal] = []
    for target in ("k4p", "row"):
        step = 64 if target == "k4p" else 4
        params: dict[str, int | float] = {
            "planes": planes.batch * planes.groups, "groups": planes.groups, "channels": planes.channels,
            "pixels": planes.pixels, "x_plane": 4 * planes.padded, "y_plane": step,
            "y_image": planes.groups * step if target == "k4p" else planes.channels,
            "total_zero": (means.x_zero - offset) * planes.pixels, "multiplier": float(means.multipliers),
            "zero_point": means.y_zero - offset, "low": low, "high": high,
            "flip": flip(site.level) if target == "row" else 0,
        }  # fmt: skip
        offers.append(_reduction(site, x, kernel, "k4p", target, params, planes.batch * planes.groups))
    return offers
