"""Reductions and positions of extremes over any neighbouring axes: rows of row layout, or the channels of kp.

Reductions within rows or planes are in norm.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from edgert.graph.ir import TensorType
from edgert.kernels_cpu.norm import REDUCE
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, layout_nbytes, lowers
from edgert.plan.lowering.shapes import Planes, has_planes, is_constant, split, too_large

KERNEL, ARG = "reduce_rows_f32", "arg_extreme_f32"
LANES = 16


@dataclass(frozen=True)
class Rows:
    """A tensor in `layout` as `outer` parts of `rows` rows of `count` floats; strides in bytes."""

    layout: str
    outer: int
    rows: int
    count: int
    x_outer: int
    x_row: int


def rows_of(x: TensorType, first: int, last: int) -> list[Rows]:
    """The ways to see axes first .. last of `x` as rows, with values behind them."""
    shape = x.static_shape
    outer, rows, count = prod(shape[:first]), prod(shape[first : last + 1]), prod(shape[last + 1 :])
    found = []
    if (first, last) == (1, 1) and has_planes(x):
        planes = Planes.of(x)
        plane = 4 * planes.padded
        found.append(Rows("kp", outer, rows, planes.pixels, plane * rows, plane))
    if count > 1:
        found.append(Rows("row", outer, rows, count, 4 * rows * count, 4 * count))
    return found


def _checked(site: Site, kernel: str) -> TensorType | Refusal:
    x = site.inputs[0]
    if x is None or x.dtype != "float32" or is_constant(site, 0) or not x.numel:
        return Refusal(kernel, f"expected float32 activations, found {'nothing' if x is None else x.dtype}")
    return x


@lowers("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")
def reduce(site: Site) -> list[Offer | Refusal]:
    """Constant axes next to each other (but for those of size 1), not the last of row."""
    x = _checked(site, KERNEL)
    if isinstance(x, Refusal):
        return [x]
    given = site.values[1] if len(site.inputs) > 1 and site.inputs[1] is not None else None
    axes = [] if given is None else sorted({int(a) % len(x.shape) for a in given.ravel()})
    axes = [a for a in axes if x.static_shape[a] != 1]
    if not axes or any(x.static_shape[a] != 1 for a in range(axes[0], axes[-1]) if a not in axes):
        return [Refusal(KERNEL, f"axes {axes} of {list(x.shape)} are not neighbours")]
    offers: list[Offer | Refusal] = []
    for rows in rows_of(x, axes[0], axes[-1]):
        y = site.outputs[0]
        planes = rows.layout == "kp" and has_planes(y) and len(y.shape) == len(x.shape)
        target = "kp" if planes else "row"
        params = {"op": REDUCE.index(site.node.op.removeprefix("Reduce")),
                  "y_outer": 4 * Planes.of(y).padded if planes else 4 * rows.count}  # fmt: skip
        offers.append(_offer(site, KERNEL, x, rows, params, target))
    return offers or [Refusal(KERNEL, f"axes {axes} of {list(x.shape)} are the last")]


@lowers("ArgMax", "ArgMin")
def arg_extreme(site: Site) -> list[Offer | Refusal]:
    """float32, any axis."""
    x = _checked(site, ARG)
    if isinstance(x, Refusal):
        return [x]
    axis = site.node.attr_int("axis", 0) % len(x.shape)
    params = {"smallest": int(site.node.op == "ArgMin"), "last": site.node.attr_int("select_last_index", 0)}
    offers = [_offer(site, ARG, x, rows, params, "row") for rows in rows_of(x, axis, axis)]
    if prod(x.static_shape[axis + 1 :]) == 1:
        count = x.static_shape[axis]
        within = Rows("row", x.numel // count, 1, count, 0, 0)
        offers.append(_offer(site, f"{ARG}_row", x, within, {**params, "rows": x.numel // count}, "row"))
    return offers


def _offer(
    site: Site, kernel: str, x: TensorType, rows: Rows, params: dict[str, int], target: str
) -> Offer | Refusal:  # fmt: skip
    y = site.outputs[0]
    nbytes = layout_nbytes(x, rows.layout) + layout_nbytes(y, target)
    if kernel.endswith("_row"):
        params, units, efficiency = {**params, "count": rows.count}, rows.outer, 0.05
    else:
        params = {**params, "outer": rows.outer, "rows": rows.rows, "count": rows.count, "x_outer": rows.x_outer,
                  "x_row": rows.x_row}  # fmt: skip
        units, efficiency = rows.outer * -(-rows.count // LANES), 0.3

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        chunks = split(site.threads, units, nbytes)
        emitter.op(kernel, {"x": inputs[0], "y": outputs[0]}, params, chunks=chunks, scratch=64)

    absent = (None,) * (len(site.inputs) - 1)
    return too_large(kernel, nbytes) or Offer(
        kernel, (rows.layout, *absent), (target,), 0, nbytes, "bytes", efficiency,
        f"{rows.rows} rows of {rows.count}" if rows.rows > 1 else "within rows", emit,
    )  # fmt: skip
