"""Shape functions of TensorFlow Lite's recurrent layers: ProjectedLSTM, QLinearLSTM and QLinearSVDF.
What they compute is in `kernels_cpu/reference/recurrent_tflite.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgert.graph.broadcast import known_size, not_quantized, same_dtype
from edgert.graph.infer_elementwise import FLOATS, one_of
from edgert.graph.infer_recurrent import has_shape
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, need, operator


def _layer(node: Node, given: Sequence[TensorType | None], projection: int) -> list[TensorType]:
    """Checks sizes of x, w, r, b, h, c, peepholes and the projection, which begins at input `projection`; gives the
    types of Y, h and c."""
    x, w, r, b, h, c = (need(given[i], what) for i, what in enumerate(("x", "w", "r", "b", "h", "c")))
    check(len(x.shape) == 3, "x of rank 3", f"shape {x.shape}")
    check(len(r.shape) == 2 and len(h.shape) == 2, "r and h of rank 2", f"shapes {r.shape} and {h.shape}")
    rows, outputs = known_size(r.shape[0], "rows of r"), known_size(r.shape[1], "columns of r")
    check(rows % 4 == 0 and rows > 0, "rows of four gates", rows)
    hidden, layout = rows // 4, node.attr_int("layout", 0)
    check(layout in (0, 1), "layout 0 or 1", layout)
    batch = x.shape[1 - layout]
    has_shape(w, (rows, x.shape[2]), "w")
    has_shape(b, (rows,), "b")
    has_shape(h, (batch, outputs), "h")
    has_shape(c, (batch, hidden), "c")
    has_shape(given[6], (3 * hidden,), "peepholes")
    has_shape(given[projection], (outputs, hidden), "projection")
    has_shape(given[projection + 1], (outputs,), "projection bias")
    projected = given[projection] is not None
    check(projected or outputs == hidden, f"a projection of {hidden} units to {outputs}", "none")
    for key in ("cell_clip", "projection_clip"):
        bound = node.attr_float(key, 0.0)
        check(math.isfinite(bound) and bound >= 0, f"{key} >= 0, finite", bound)
    return [TensorType(h.dtype, (*x.shape[:2], outputs), h.quant), h, c]


@operator("ProjectedLSTM", inputs=(6, 10))
def projected_lstm(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Floats: x [T, B, I], w [4H, I], r [4H, O], b [4H], h [B, O], c [B, H], peepholes [3H], norm [4H], projection
    [O, H] and its bias [O]; to Y [T, B, O] and the states."""
    given: list[TensorType | None] = [*ins, *(None,) * (10 - len(ins))]
    floats = [kind for kind in given if kind is not None]
    not_quantized(*floats)
    one_of(same_dtype(*floats), FLOATS)
    has_shape(given[7], need(given[3], "b").shape, "norm")
    return _layer(node, given, 8)


@operator("QLinearLSTM", inputs=(6, 9))
def qlinear_lstm(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """uint8 x [T, B, I] and h [B, O], int16 c [B, H], int8 weights with a scale per row or one in all, int32 biases; to
    Y [T, B, O], quantized like h, and the states."""
    given: list[TensorType | None] = [*ins, *(None,) * (9 - len(ins))]
    dtypes = ("uint8", "int8", "int8", "int32", "uint8", "int16", "int16", "int8", "int32")
    for i, (kind, dtype) in enumerate(zip(given, dtypes, strict=True)):
        if kind is None:
            continue
        check(kind.dtype == dtype, f"input {i} of {dtype}", kind.dtype)
        check(dtype == "int32" or kind.quant is not None, f"a scale of input {i}", "none")
    types = _layer(node, given, 7)
    rows = known_size(need(given[2], "r").shape[0], "rows of r")
    for i, count in ((1, rows), (2, rows), (6, 3 * rows // 4)):
        kind = given[i]
        sizes = (count,) if i != 6 else (count, 3)
        if kind is not None and kind.quant is not None:
            check(kind.quant.scale.size in sizes and not kind.quant.zero_point.any(), "a scale per row", "another")
    for i in (0, 4, 5, 7):
        kind = given[i]
        check(kind is None or kind.quant is None or kind.quant.per_tensor, "one scale for the whole tensor", "more")
    cell = types[2].quant
    assert cell is not None
    power = math.log2(float(cell.scale))
    fits = power == round(power) and -15 <= power <= -9
    check(fits and int(cell.zero_point) == 0, "a cell state whose scale is 2**-15 to 2**-9", float(cell.scale))
    hidden = node.attr_float("hidden_scale", 1.0)
    check(math.isfinite(hidden) and hidden > 0, "hidden_scale > 0, finite", hidden)
    return types


@operator("QLinearSVDF", inputs=(5, 5), quantizes=True)
def qlinear_svdf(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """uint8 x [B, I], int8 features [F, I], int16 times [F, M], int32 bias [U] or none, int16 state [B, F*M]; to [B, U]
    and the state."""
    x, features, times, state = (
        need(ins[i], what) for i, what in ((0, "x"), (1, "features"), (2, "times"), (4, "state"))
    )
    for kind, dtype in ((x, "uint8"), (features, "int8"), (times, "int16"), (state, "int16")):
        check(kind.dtype == dtype, f"inputs of uint8, int8, int16 and int16: here {dtype}", kind.dtype)
        check(len(kind.shape) == 2, "inputs of rank 2", f"shape {kind.shape}")
        check(kind.quant is not None and kind.quant.per_tensor, "one scale for the whole tensor", "another")
    filters, memory = (known_size(d, "size of the filters") for d in times.shape)
    rank = node.attr_int("rank", 1)
    check(rank >= 1 and filters % rank == 0, f"a rank that divides {filters} filters", rank)
    has_shape(features, (filters, x.shape[1]), "features")
    has_shape(state, (x.shape[0], filters * memory), "state")
    has_shape(ins[3], (filters // rank,), "bias")
    return [TensorType("uint8", (x.shape[0], filters // rank)), state]
