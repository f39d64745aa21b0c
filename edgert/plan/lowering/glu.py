"""GLU: an activation of one half of a row times the other half, to rows or to g32.

The rules of plain activations are in elementwise.py.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise import GLU
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
from edgert.plan.lowering.shapes import is_constant, rows_present, split, too_large

COST = 40
"""Multiply-adds that a value costs, for cutting the work into chunks: an exponential and a division."""
EFFICIENCY = {"row": 0.4, "g32": 0.16}
"""Share of the speed of memory."""


@lowers("GLU")
def glu(site: Site) -> list[Offer | Refusal]:
    """float32 rows; activations in the order that the kernels have them."""
    x, kind = site.inputs[0], site.node.attr_str("activation", "Silu")
    if x is None or x.dtype != "float32" or is_constant(site, 0) or site.outputs[0].numel == 0:
        return [Refusal("glu_f32_row", f"expected float32 activations, found {'nothing' if x is None else x.dtype}")]
    if kind not in GLU:
        return [Refusal("glu_f32_row", f"expected an activation among {', '.join(GLU)}, found {kind!r}")]
    return [_glu(site, "glu_f32_g32", "g32", kind), _glu(site, "glu_f32_row", "row", kind)]


def _glu(site: Site, kernel: str, target: str, kind: str) -> Offer | Refusal:
    x, y = site.inputs[0], site.outputs[0]
    assert x is not None
    width = y.static_shape[-1]
    rows, blocks = y.numel // width, g32_depth(width) // BLOCK_K
    y_row, scratch = (g32_stride(width), 4 * g32_depth(width)) if target == "g32" else (4 * width, 0)
    params = {"kind": GLU.index(kind), "rows": rows, "width": width, "blocks": blocks, "y_row": y_row}
    nbytes = x.nbytes + layout_nbytes(y, target)
    chunks = split(site.threads, rows * blocks, nbytes, COST * y.numel)

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        operands = {"x": inputs[0], "y": outputs[0], "rows_at": rows_present(emitter, y, rows)}
        emitter.op(kernel, operands, params, chunks=chunks, scratch=scratch)

    reason = f"{kind} of the gate times the other half" + (", in groups of 32" if target == "g32" else "")
    return too_large(kernel, nbytes) or Offer(
        kernel, ("row",), (target,), 0, nbytes, "bytes", EFFICIENCY[target], reason, emit
    )
