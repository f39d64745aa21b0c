"""Softmax, normalizations and reductions of float rows; per-plane ones in kp as well.

Only the last axes of row layout, and pixels or channels of kp, are contiguous enough; other axes are left to
the host, with the reason.
"""

from __future__ import annotations

from math import prod

import numpy as np

from edgert.graph.ir import Array, TensorType
from edgert.kernels_cpu.norm import REDUCE
from edgert.plan.lowering.api import (
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
from edgert.plan.lowering.shapes import Planes, has_planes, is_constant, rows_present, split, too_large

COST = 16
"""Multiply-adds that an exponential costs, for cutting the work into chunks."""
ROW_COST = 24
"""What a value of a normalized row costs: few rows of text are worth a second thread, as the products around are."""


def _float_input(site: Site, kernel: str) -> TensorType | Refusal:
    x = site.inputs[0]
    if x is None or x.dtype != "float32" or is_constant(site, 0) or x.numel == 0:
        return Refusal(kernel, f"expected float32 activations, found {'nothing' if x is None else x.dtype}")
    return x


def _offer(
    site: Site, kernel: str, layout: str, params: dict[str, int | float], units: int, efficiency: float, reason: str,
    constants: dict[str, Array] | None = None, macs: int = 0, target: str | None = None, scratch: int = 0,
) -> Offer | Refusal:  # fmt: skip
    """`constants` are operands of that name; kernels that have them also take the number of rows that are present."""
    x, y = site.inputs[0], site.outputs[0]
    assert x is not None
    nbytes = layout_nbytes(x, layout) + layout_nbytes(y, target or layout)
    chunks = split(site.threads, units, nbytes, macs)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        operands: dict[str, Buffer | None] = {"x": inputs[0], "y": outputs[0]}
        if constants is not None:
            operands |= {name: emitter.constant(value) for name, value in constants.items()}
            operands["rows_at"] = rows_present(emitter, y, units)
        emitter.op(kernel, operands, params, chunks=chunks, scratch=scratch)

    absent = (None,) * (len(site.inputs) - 1)
    return too_large(kernel, nbytes) or Offer(
        kernel, (layout, *absent), (target or layout,), 0, nbytes, "bytes", efficiency, reason, emit,
        in_place=0 if x.shape == y.shape and layout == (target or layout) else None,
    )  # fmt: skip


@lowers("Softmax", "LogSoftmax")
def softmax(site: Site) -> list[Offer | Refusal]:
    """Over the last axis of row, or the channels of kp."""
    x = _float_input(site, "softmax_f32_row")
    if isinstance(x, Refusal):
        return [x]
    shape, logarithm = x.static_shape, int(site.node.op == "LogSoftmax")
    axis = site.node.attr_int("axis", -1) % len(shape)
    offers: list[Offer | Refusal] = []
    macs = COST * x.numel
    if axis == 1 and has_planes(x):
        planes = Planes.of(x)
        params: dict[str, int | float] = {
            "batch": planes.batch, "channels": planes.channels, "plane": 4 * planes.padded, "logarithm": logarithm
        }  # fmt: skip
        units = planes.batch * planes.padded // 16
        offers.append(
            _offer(site, "softmax_f32_kp", "kp", params, units, 0.09, "over the channels of each pixel", macs=macs)
        )
    if prod(shape[axis + 1 :]) == 1:
        count = shape[axis]
        rows = x.numel // count
        params = {"rows": rows, "count": count, "logarithm": logarithm}
        offers.append(_offer(site, "softmax_f32_row", "row", params, rows, 0.08, "over contiguous rows", macs=macs))
    return offers or [Refusal("softmax_f32_row", f"axis {axis} of {list(shape)} is neither last nor channels")]


@lowers("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")
def reduce(site: Site) -> list[Offer | Refusal]:
    """Over the last axes of row; over all spatial axes of kp. Over others, see reduce_rows.py."""
    kernel = "reduce_f32_row"
    x = _float_input(site, kernel)
    if isinstance(x, Refusal):
        return [x]
    shape, rank = x.static_shape, len(x.shape)
    given = len(site.inputs) > 1 and site.inputs[1] is not None
    value = site.values[1] if given else None
    if given and value is None:
        return [Refusal(kernel, "the axes are not constant")]
    listed = [] if value is None else [int(a) % rank for a in value.ravel()]
    if not listed and site.node.attr_int("noop_with_empty_axes", 0):
        return [Refusal(kernel, "without axes this is the identity")]
    axes = sorted(listed) or list(range(rank))
    if axes != list(range(axes[0], rank)):
        return [Refusal(kernel, f"axes {axes} of {list(shape)} are not the last ones")]
    rows = prod(shape[: axes[0]])
    op, count = REDUCE.index(site.node.op.removeprefix("Reduce")), prod(shape[axes[0] :])
    params: dict[str, int | float] = {"op": op, "rows": rows, "count": count, "x_row": 4 * count, "y_row": 4}
    offers = [_offer(site, kernel, "row", params, rows, 0.4, "over contiguous rows")]
    if axes[0] == 2 and has_planes(x):
        planes = Planes.of(x)
        params = {**params, "count": planes.pixels, "x_row": 4 * planes.padded}
        offers.append(_offer(site, kernel, "kp", params, rows, 0.4, "over planes", target="row"))
        if has_planes(site.outputs[0]):
            offers.append(_offer(site, kernel, "kp", {**params, "y_row": 64}, rows, 0.4, "over planes"))
    return offers


def _values(site: Site, index: int, count: int, default: float) -> Array | None:
    """Constant input `index` as float32 [count]; the default where it is absent; None where it is not constant."""
    if index >= len(site.inputs) or site.inputs[index] is None:
        return np.full(count, default, np.float32)
    value = site.values[index]
    return None if value is None or value.size != count else np.ascontiguousarray(value, np.float32).reshape(-1)


@lowers("LayerNormalization", "RMSNormalization")
def normalize_rows(site: Site) -> list[Offer | Refusal]:
    """To rows, or to g32 where the last axis is the one that is normalized."""
    kernel = "normalize_f32_row"
    x = _float_input(site, kernel)
    if isinstance(x, Refusal):
        return [x]
    if len([name for name in site.node.outputs if name]) > 1:
        return [Refusal(kernel, "mean and deviation are not given out")]
    axis = site.node.attr_int("axis", -1) % len(x.shape)
    count = prod(x.static_shape[axis:])
    scale, bias = _values(site, 1, count, 1.0), _values(site, 2, count, 0.0)
    if scale is None or bias is None:
        return [Refusal(kernel, f"expected constant scale and bias of {count} values")]
    rows = x.numel // count
    params: dict[str, int | float] = {
        "rows": rows, "count": count, "x_row": 4 * count,
        "centre": int(site.node.op == "LayerNormalization"), "epsilon": site.node.attr_float("epsilon", 1e-5),
    }  # fmt: skip
    plain = params | {"y_row": 4 * count, "period": 1, "channel_scale": 0}
    constants = {"scale": scale, "bias": bias}
    cost = ROW_COST * x.numel
    offers = [_offer(site, kernel, "row", plain, rows, 0.4, "over contiguous rows", constants, macs=cost)]
    if count == x.static_shape[-1]:
        kernel, grouped = "normalize_f32_g32", params | {"y_row": g32_stride(count)}
        reason = "over contiguous rows, then in groups of 32"
        offers.append(
            _offer(
                site, kernel, "row", grouped, rows, 0.12, reason, constants, macs=cost, target="g32",
                scratch=4 * g32_depth(count),
            )
        )  # fmt: skip
    return offers


@lowers("InstanceNormalization")
def normalize_planes(site: Site) -> list[Offer | Refusal]:
    kernel = "normalize_f32_row"
    x = _float_input(site, kernel)
    if isinstance(x, Refusal):
        return [x]
    if not has_planes(x):
        return [Refusal(kernel, f"expected [N, C, W] or [N, C, H, W], found {list(x.shape)}")]
    planes = Planes.of(x)
    scale, bias = _values(site, 1, planes.channels, 1.0), _values(site, 2, planes.channels, 0.0)
    if scale is None or bias is None:
        return [Refusal(kernel, f"expected constant scale and bias of {planes.channels} values")]
    rows = planes.batch * planes.channels
    offers: list[Offer | Refusal] = []
    for layout in ("kp", "row"):
        row = 4 * (planes.padded if layout == "kp" else planes.pixels)
        params: dict[str, int | float] = {
            "rows": rows, "count": planes.pixels, "x_row": row, "y_row": row, "period": planes.channels,
            "channel_scale": 1, "centre": 1, "epsilon": site.node.attr_float("epsilon", 1e-5),
        }  # fmt: skip
        constants = {"scale": scale, "bias": bias}
        offers.append(_offer(site, kernel, layout, params, rows, 0.25, "plane by plane", constants))
    return offers
