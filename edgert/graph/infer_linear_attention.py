"""Shape function of LinearAttention: packed heads, the state they share, and gates that fit both.
What it computes is in `kernels_cpu/reference/linear_attention.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import known_size, not_quantized, same_dtype
from edgert.graph.infer_elementwise import FLOATS, one_of
from edgert.graph.infer_recurrent import has_shape
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, need, operator

RULES = {"linear": (False, False), "gated": (True, False), "delta": (False, True), "gated_delta": (True, True)}
"""Update rules: whether each needs decay and beta."""


@operator("LinearAttention", inputs=(3, 6))
def linear_attention(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """query [B, T, Hq*dk], key [B, T, H*dk], value [B, T, H*dv], state [B, H, dk, dv], decay [B, T, H*dk or H], beta
    [B, T, H or 1]; to [B, T, Hq*dv] and the state."""
    given: list[TensorType | None] = [*ins, *(None,) * (6 - len(ins))]
    query, key, value = (need(given[i], what) for i, what in enumerate(("query", "key", "value")))
    past, decay, beta = given[3:]
    for kind in (k for k in given if k is not None):
        not_quantized(kind)
        one_of(kind.dtype, FLOATS)
        check(len(kind.shape) == (4 if kind is past else 3), "packed heads of rank 3", f"shape {kind.shape}")
    same_dtype(*(k for k in (query, key, value, decay, beta) if k is not None))
    heads, kv_heads = node.attr_int("q_num_heads", 0), node.attr_int("kv_num_heads", 0)
    fits = heads >= 1 and kv_heads >= 1 and heads % kv_heads == 0
    check(fits, "q_num_heads >= 1, a multiple of kv_num_heads >= 1", f"{heads} and {kv_heads}")
    rule = node.attr_str("update_rule", "gated_delta")
    check(rule in RULES, f"update_rule among {', '.join(RULES)}", repr(rule))
    gated, delta = RULES[rule]
    check(not gated or decay is not None, f"decay, which {rule} needs", "none")
    check(not delta or beta is not None, f"beta, which {rule} needs", "none")
    packed, values = known_size(key.shape[2], "width of the keys"), known_size(value.shape[2], "width of the values")
    fits = packed % kv_heads == 0 and values % kv_heads == 0
    check(fits, f"keys and values of {kv_heads} heads", f"widths {packed} and {values}")
    depth, width = packed // kv_heads, values // kv_heads
    rows = key.shape[:2]
    has_shape(query, (*rows, heads * depth), "query")
    has_shape(value, (*rows, values), "value")
    has_shape(past, (rows[0], kv_heads, depth, width), "past_state")
    if decay is not None:
        has_shape(decay, (*rows, decay.shape[2]), "decay")
        check(decay.shape[2] in (kv_heads, packed), f"decay of width {kv_heads} or {packed}", decay.shape[2])
    if beta is not None:
        has_shape(beta, (*rows, beta.shape[2]), "beta")
        check(beta.shape[2] in (kv_heads, 1), f"beta of width {kv_heads} or 1", beta.shape[2])
    state = TensorType(query.dtype if past is None else past.dtype, (rows[0], kv_heads, depth, width))
    return [TensorType(query.dtype, (*rows, heads * width)), state]
