"""TopK: the largest values along the last axis and their places."""

from __future__ import annotations

from math import prod

from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.shapes import is_constant, split, too_large

KERNEL = "top_k_f32_row"


@lowers("TopK")
def top_k(site: Site) -> Offer | Refusal:
    """float32, the largest, along axes of which nothing follows, with a constant k from 1 on."""
    x, y, k = site.inputs[0], site.outputs[0], site.values[1]
    if x is None or x.dtype != "float32" or is_constant(site, 0):
        return Refusal(KERNEL, f"expected float32 activations, found {'nothing' if x is None else x.dtype}")
    shape, node = x.static_shape, site.node
    axis = node.attr_int("axis", -1) % max(len(shape), 1)
    if not node.attr_int("largest", 1):
        return Refusal(KERNEL, "the smallest are wanted, and it finds the largest")
    if k is None or prod(shape[axis + 1 :]) != 1 or not y.numel:
        return Refusal(KERNEL, f"axis {axis} of {list(shape)}: it takes rows that lie together and a constant k from 1")
    count, wanted = shape[axis], y.static_shape[axis]
    rows, nbytes = x.numel // count, x.nbytes + 12 * y.numel
    params = {"rows": rows, "count": count, "k": wanted}

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        places = outputs[1] if len(outputs) > 1 else emitter.workspace(8 * y.numel)
        operands = {"x": inputs[0], "y": outputs[0], "places": places}
        emitter.op(KERNEL, operands, params, chunks=split(site.threads, rows, nbytes))

    return too_large(KERNEL, nbytes) or Offer(
        KERNEL, ("row", None), ("row",) * len(site.outputs), 0, nbytes, "bytes", 0.2, f"{wanted} of {count}", emit
    )
