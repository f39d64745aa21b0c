"""Shape functions of recurrent layers: LSTM, GRU and RNN.
What they compute is in `kernels_cpu/reference/recurrent.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import known_size, merge_dims, not_quantized, same_dtype
from edgert.graph.infer_elementwise import FLOATS, INTEGERS, one_of
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, need, operator

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Row blocks of W and R, each as large as the hidden state."""
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}
"""Activations of one direction."""
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def has_shape(kind: TensorType | None, shape: Sequence[Dim], what: str) -> None:
    """Raises UnsupportedError unless `kind`, if present, has `shape` as far as sizes are known."""
    if kind is None:
        return
    check(len(kind.shape) == len(shape), f"{what} of shape {tuple(shape)}", f"shape {kind.shape}")
    for axis, pair in enumerate(zip(shape, kind.shape, strict=True)):
        merge_dims(pair, f"axis {axis} of {what} (expected, found)")


@operator("LSTM", inputs=(3, 8))
@operator("GRU", "RNN", inputs=(3, 6))
def recurrent(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """X [T, B, I], W [D, G*H, I], R [D, G*H, H], B [D, 2*G*H], sequence_lens int32 [B], initial states [D, B, H],
    peepholes [D, 3H]; to Y [T, D, B, H] and final states. With `layout` 1 the batch comes first."""
    given: list[TensorType | None] = [*ins, *(None,) * (8 - len(ins))]
    x, w, r = need(given[0], "X"), need(given[1], "W"), need(given[2], "R")
    floats = [kind for i, kind in enumerate(given) if kind is not None and i != 4]
    not_quantized(*floats)
    one_of(same_dtype(*floats), FLOATS)
    check(len(x.shape) == 3, "X of rank 3", f"shape {x.shape}")
    check(len(r.shape) == 3, "R of rank 3", f"shape {r.shape}")
    direction, gates = node.attr_str("direction", "forward"), GATES[node.op]
    check(direction in DIRECTIONS, f"direction among {', '.join(DIRECTIONS)}", repr(direction))
    count, hidden = DIRECTIONS[direction], known_size(r.shape[2], "hidden size")
    stated = node.attr_int("hidden_size", hidden)
    check(stated == hidden and hidden >= 1, f"hidden_size {hidden} as R has it", stated)
    layout = node.attr_int("layout", 0)
    check(layout in (0, 1), "layout 0 or 1", layout)
    names = node.attrs.get("activations")
    wanted = count * FUNCTIONS[node.op]
    check(not names or (isinstance(names, list) and len(names) == wanted), f"{wanted} activations", names)
    steps, batch = (x.shape[1], x.shape[0]) if layout else x.shape[:2]
    state = (batch, count, hidden) if layout else (count, batch, hidden)
    has_shape(w, (count, gates * hidden, x.shape[2]), "W")
    has_shape(r, (count, gates * hidden, hidden), "R")
    has_shape(given[3], (count, 2 * gates * hidden), "B")
    if given[4] is not None:
        one_of(given[4].dtype, INTEGERS)
        has_shape(given[4], (batch,), "sequence_lens")
    has_shape(given[5], state, "initial_h")
    has_shape(given[6], state, "initial_c")
    has_shape(given[7], (count, 3 * hidden), "P")
    y = (batch, steps, count, hidden) if layout else (steps, count, batch, hidden)
    finals = [TensorType(x.dtype, state)] * (2 if node.op == "LSTM" else 1)
    return [TensorType(x.dtype, y), *finals]
