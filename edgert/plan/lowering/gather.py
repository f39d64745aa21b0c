"""Gather along axis 0 from a constant table: embeddings, looked up where the file has them.

Gathers along other axes, from activations or of integers have no kernel.
"""

from __future__ import annotations

from math import prod

from edgert.format.encodings import GROUPED
from edgert.format.model import StoredTensor
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, lowers
from edgert.plan.lowering.shapes import rows_present, split, too_large

GROUP_SCRATCH = 128
"""Bytes of the 32 floats of a group."""
LINES = 16
"""Rows of a table that lie side by side in n16k1."""


@lowers("Gather")
def gather(site: Site) -> Offer | Refusal:
    """float32 rows of a table [V, ...]: dense or f16 in row or n16k1, q8 in row, or in groups; indices int32 or int64.
    An index beyond the table gives its first or last row: nothing outside of it is read."""
    stored, x, indices, y = site.stored[0], site.inputs[0], site.inputs[1], site.outputs[0]
    kernel = _kernel(stored)
    if stored is None or x is None or indices is None:
        return Refusal(kernel, "expected a constant table")
    if site.node.attr_int("axis", 0) % len(x.shape) != 0 or stored.dtype != "float32":
        return Refusal(kernel, f"expected float32 along axis 0, found {x.dtype} {list(x.shape)}")
    if indices.dtype not in ("int32", "int64"):
        return Refusal(kernel, f"expected int32 or int64 indices, found {indices.dtype}")
    rows, table, columns = indices.numel, stored.shape[0], prod(stored.shape[1:])
    if rows == 0 or table == 0 or columns == 0:
        return Refusal(kernel, f"nothing to look up: {list(y.shape)} from {list(x.shape)}")
    params: dict[str, int | float] = {
        "rows": rows, "table": table, "columns": columns, "wide": int(indices.dtype == "int64")
    }  # fmt: skip
    if stored.encoding == "q8" and stored.layout != "row":
        return Refusal(kernel, f"expected q8 in rows, found {stored.layout}")
    if stored.encoding in ("dense", "f16"):
        width = 2 if stored.encoding == "f16" else 4
        lane, step = (columns * width, width) if stored.layout == "row" else (width, LINES * width)
        params |= {"block": LINES * columns * width, "lane": lane, "step": step}
    nbytes = y.nbytes + indices.nbytes + rows * stored.nbytes // table
    chunks = split(site.threads, rows, nbytes)
    known = site.values[1]  # positions, once the length of a text is bound

    def emit(emitter: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        places = inputs[1] if known is None else emitter.constant(known)
        found = None
        if known is None and places is not None and stored.encoding != "q8":
            lines = 1 if stored.layout == "row" else LINES
            found = emitter.lookup(stored, "data", places, count=rows, lines=lines)
        own = params
        if found is None:
            data = emitter.weights(stored, "data")
        else:
            data, places = found
            own = params | {"table": rows * lines, "wide": 0}
        operands = {"x": data, "indices": places, "y": outputs[0], "rows_at": rows_present(emitter, y, rows)}
        if stored.encoding == "q8":
            operands["scale"] = emitter.weights(stored, "scale")
        scratch = GROUP_SCRATCH if stored.encoding in GROUPED else 0
        emitter.op(kernel, operands, own, chunks=chunks, scratch=scratch)

    reason = f"rows of {stored.encoding} where the file has them"
    return too_large(kernel, *(int(v) for v in params.values())) or Offer(
        kernel, (None, "row" if known is None else None), ("row",), 0, nbytes, "bytes", 0.3, reason, emit
    )


def _kernel(stored: StoredTensor | None) -> str:
    if stored is not None and stored.encoding in GROUPED:
        return f"gather_{stored.encoding}_n16k64"
    return {"f16": "gather_f16", "q8": "gather_q8"}.get(stored.encoding if stored is not None else "", "gather_f32")
