"""Between layouts and between floats and bytes: conversions the planner inserts, QuantizeLinear, DequantizeLinear.

8-bit row buffers hold true unsigned bytes at every level; only k4p is shifted where activations are signed.
"""

from __future__ import annotations

from edgert.graph.ir import TensorType
from edgert.kernels_cpu.levels import Level
from edgert.plan.lowering.api import (
    BLOCK_K,
    Buffer,
    Emitter,
    Offer,
    Refusal,
    Site,
    g32_depth,
    g32_stride,
    layout_nbytes,
    lowers,
)  # fmt: skip
from edgert.plan.lowering.requantize import shift
from edgert.plan.lowering.shapes import (
    Planes,
    flip,
    has_planes,
    is_constant,
    per_tensor,
    plane_layout,
    rows_present,
    same_buffer,
    split,
    too_large,
)  # fmt: skip
from edgert.plan.lowering.strided import KERNEL as COPY
from edgert.plan.lowering.strided import Axis, emit_copy

Operands = dict[str, Buffer | None]
GROUP_COST = 16
"""Multiply-adds that a value costs on its way to g32, for cutting the work into chunks."""


def conversion(kind: TensorType, source: str, target: str, level: Level, threads: int = 1) -> Offer | Refusal:
    """Moves a tensor from one activation layout to another, for the planner to put between two nodes.

    row <-> kp for float32, row <-> k4p for uint8, of rank 2 to 4. Where kp and row are the same bytes the output
    may take the input's memory, and then nothing is emitted. row -> g32 for float32; what was rounded to g32 stays so.
    """
    if {source, target} == {"row", "kp"} and kind.dtype == "float32" and has_planes(kind):
        return _copy_planes(kind, source, target, threads)
    if {source, target} == {"row", "k4p"} and kind.dtype == "uint8" and has_planes(kind):
        return _interleave(kind, source, target, level, threads)
    if source == "row" and target in ("g32", "g32x2") and kind.dtype == "float32" and kind.shape and kind.numel > 0:
        return _group(kind, target, threads)
    shape = list(kind.shape)
    return Refusal(COPY, f"no conversion of {kind.dtype} {shape} from {source} to {target}")


def _copy_planes(kind: TensorType, source: str, target: str, threads: int) -> Offer:
    planes = Planes.of(kind)
    free = planes.pixels == planes.padded
    x_stride, y_stride = (4 * (planes.padded if layout == "kp" else planes.pixels) for layout in (source, target))

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        x = inputs[0]
        assert x is not None
        if not same_buffer(x, outputs[0]):
            axes = [Axis(planes.batch * planes.channels, x_stride, y_stride), Axis(planes.pixels, 4, 4)]
            emit_copy(emitter, x, outputs[0], axes, 4, threads)

    nbytes = layout_nbytes(kind, source) + layout_nbytes(kind, target)
    reason = f"{source} and {target} are the same bytes here" if free else f"{source} to {target}, plane by plane"
    return Offer(
        COPY, (source,), (target,), 0, nbytes, "bytes", 0.5, reason, emit, in_place=0 if free else None
    )  # fmt: skip


def _interleave(kind: TensorType, source: str, target: str, level: Level, threads: int) -> Offer:
    planes = Planes.of(kind)
    groups = planes.batch * planes.groups
    to_k4p = target == "k4p"
    kernel = "interleave_q8_k4p" if to_k4p else "deinterleave_q8_k4p"
    params = {
        "planes": groups, "groups": planes.groups, "channels": planes.channels, "pixels": planes.pixels,
        ("y_plane" if to_k4p else "x_plane"): 4 * planes.padded, "flip": flip(level),
    }  # fmt: skip
    nbytes = layout_nbytes(kind, source) + layout_nbytes(kind, target)
    chunks = split(threads, groups * -(-planes.pixels // 16), nbytes)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        emitter.op(kernel, {"x": inputs[0], "y": outputs[0]}, params, chunks=chunks)

    reason = "four channels to a pixel" if to_k4p else "each channel to its plane"
    return Offer(kernel, (source,), (target,), 0, nbytes, "bytes", 0.3, reason, emit)


def _group(kind: TensorType, target: str, threads: int) -> Offer | Refusal:
    kernel, depth = f"quantize_f32_{target}", kind.static_shape[-1]
    rows, blocks, terms = kind.numel // depth, g32_depth(depth) // BLOCK_K, 2 if target == "g32x2" else 1
    params = {"rows": rows, "count": depth, "blocks": blocks, "x_row": 4 * depth, "y_row": terms * g32_stride(depth)}
    nbytes = kind.nbytes + layout_nbytes(kind, target)
    chunks = split(threads, rows * blocks if terms == 1 else rows, nbytes, terms * GROUP_COST * kind.numel)
    scratch = 4 * g32_depth(depth) if terms == 2 else 0

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        operands = {"x": inputs[0], "y": outputs[0], "rows_at": rows_present(emitter, kind, rows)}
        emitter.op(kernel, operands, params, chunks=chunks, scratch=scratch)

    reason = "int8 in groups of 32" if terms == 1 else "int16 as two terms of int8 in groups of 32"
    return too_large(kernel, nbytes) or Offer(
        kernel, ("row",), (target,), 0, nbytes, "bytes", 0.17 / terms, reason, emit
    )


@lowers("QuantizeLinear")
def quantize(site: Site) -> list[Offer | Refusal]:
    """float32 to uint8 quantized as a whole: planes or rows to k4p, rows to rows."""
    x, y = site.inputs[0], site.outputs[0]
    quant = per_tensor(y)
    if x is None or x.dtype != "float32" or quant is None or is_constant(site, 0):
        return [Refusal("quantize_f32", "expected float32 activations and one uint8 scale for all")]
    scale, zero_point = quant
    zero = zero_point - shift(site.level)
    offers: list[Offer | Refusal] = []

    def offer(source: str, target: str) -> Offer | Refusal:
        nbytes = layout_nbytes(x, source) + layout_nbytes(y, target)
        params: dict[str, int | float] = {"scale": scale, "zero_point": zero}
        if target == "row":
            kernel, units = "quantize_f32_row", -(-x.numel // 64)
            params |= {"count": x.numel, "flip": flip(site.level)}
        else:
            planes = Planes.of(x)
            kernel, groups = "quantize_f32_k4p", planes.batch * planes.groups
            units = groups * -(-planes.pixels // 16)
            params |= {
                "planes": groups, "groups": planes.groups, "channels": planes.channels, "pixels": planes.pixels,
                "x_plane": 4 * (planes.padded if source == "kp" else planes.pixels), "y_plane": 4 * planes.padded,
            }  # fmt: skip
        return _offer(site, kernel, source, target, nbytes, params, units)

    if plane_layout(y) == "k4p":
        offers += [offer("kp", "k4p"), offer("row", "k4p")]
    offers.append(offer("row", "row"))
    return offers


@lowers("DequantizeLinear")
def dequantize(site: Site) -> list[Offer | Refusal]:
    """uint8 quantized as a whole to float32: k4p to planes or rows, rows to rows."""
    x, y = site.inputs[0], site.outputs[0]
    quant = per_tensor(x) if x is not None else None
    if x is None or quant is None or y.dtype != "float32" or is_constant(site, 0):
        return [Refusal("dequantize_q8", "expected uint8 activations with one scale, and float32 out")]
    scale, zero_point = quant
    offers: list[Offer | Refusal] = []

    def offer(source: str, target: str) -> Offer | Refusal:
        nbytes = layout_nbytes(x, source) + layout_nbytes(y, target)
        if source == "row":
            params: dict[str, int | float] = {"count": x.numel, "scale": scale, "zero_point": zero_point}
            return _offer(site, "dequantize_q8_row", source, target, nbytes, params, -(-x.numel // 64))
        planes = Planes.of(x)
        groups, y_pixels = planes.batch * planes.groups, planes.padded if target == "kp" else planes.pixels
        params = {
            "planes": groups, "groups": planes.groups, "channels": planes.channels, "pixels": planes.pixels,
            "y_pixels": y_pixels, "x_plane": 4 * planes.padded, "y_plane": 4 * y_pixels,
            "scale": scale, "zero_point": zero_point - shift(site.level),
        }  # fmt: skip
        units = groups * -(-planes.pixels // 16)
        return _offer(site, "dequantize_q8_k4p", source, target, nbytes, params, units)

    if plane_layout(x) == "k4p":
        offers += [offer("k4p", "kp"), offer("k4p", "row")]
    offers.append(offer("row", "row"))
    return offers


def _offer(
    site: Site, kernel: str, source: str, target: str, nbytes: int, params: dict[str, int | float], units: int
) -> Offer | Refusal:
    refusal = too_large(kernel, nbytes)
    if refusal is not None:
        return refusal
    chunks = split(site.threads, units, nbytes)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        if site.outputs[0].numel:
            emitter.op(kernel, {"x": inputs[0], "y": outputs[0]}, params, chunks=chunks)

    return Offer(
        kernel,
        (source,),
        (target,),
        0,
        nbytes,
        "bytes",
        0.5,
        f"{source} floats and bytes at memory speed",
        emit,
    )
