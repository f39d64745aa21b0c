"""Gather along any axis from an activation or a small constant, of any type.

Rows of tables that the file holds are gather.py's.
"""

from __future__ import annotations

from math import prod

import numpy as np

from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.shapes import is_constant, split, too_large

KERNEL = "gather_row"
MAX_CONSTANT = 1 << 16
"""Bytes of a table that is copied out of the file, so that it need not be packed for this."""


@lowers("Gather")
def gather(site: Site) -> Offer | Refusal:
    """Indices int32 or int64, constant or not. One beyond the axis takes its first or last place: nothing outside is
    read."""
    x, indices, y = site.inputs[0], site.inputs[1], site.outputs[0]
    if x is None or indices is None or indices.dtype not in ("int32", "int64"):
        return Refusal(KERNEL, "expected int32 or int64 indices")
    held = [site.values[i] for i in (0, 1)]
    if any(is_constant(site, i) and held[i] is None for i in (0, 1)) or all(v is not None for v in held):
        return Refusal(KERNEL, "expected an activation, or a table that is not packed")
    if held[0] is not None and x.nbytes > MAX_CONSTANT:
        return Refusal(KERNEL, f"a constant table of {x.nbytes} bytes, more than {MAX_CONSTANT}")
    shape, axis = x.static_shape, site.node.attr_int("axis", 0) % len(x.shape)
    if not shape[axis] or not y.numel:
        return Refusal(KERNEL, f"nothing to look up: {list(y.shape)} from {list(shape)}")
    outer, inner = prod(shape[:axis]), prod(shape[axis + 1 :]) * x.np_dtype.itemsize
    params = {"outer": outer, "places": indices.numel, "table": shape[axis], "inner": inner,
              "wide": int(indices.dtype == "int64")}  # fmt: skip
    nbytes, efficiency = 2 * y.nbytes + indices.nbytes, 0.3 if inner >= 64 else 0.03 * min(inner, 8)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        source, at = (
            given if value is None else emitter.constant(np.ascontiguousarray(value))
            for given, value in zip(inputs, held, strict=True)
        )
        chunks = split(site.threads, outer * indices.numel, nbytes)
        emitter.op(KERNEL, {"x": source, "indices": at, "y": outputs[0]}, params, chunks=chunks)

    layouts = tuple("row" if value is None else None for value in held)
    return too_large(KERNEL, x.nbytes, y.nbytes) or Offer(
        KERNEL, layouts, ("row",), 0, nbytes, "bytes", efficiency, f"runs of {inner} bytes by their numbers", emit
    )
