"""Shape function of GroupQueryAttention: packed heads, cache and positions that fit each other.
What it computes is in `kernels_cpu/reference/attention.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgert.graph.broadcast import known_size, merge_dims, not_quantized
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, need, operator

NAMES = ("qkv", "past_key", "past_value", "positions", "inv_freq", "q_norm", "k_norm")


@operator("GroupQueryAttention", inputs=(1, 7))
def group_query_attention(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """qkv [T, (H+2KV)*d], past_key and past_value [KV, C, d] or both absent, positions int32 [T], inv_freq [r/2],
    q_norm and k_norm [d], to [T, H*d] and the cache as it was."""
    given = dict(zip(NAMES, (*ins, *(None,) * (len(NAMES) - len(ins))), strict=True))
    for name, kind in given.items():
        if kind is not None:
            not_quantized(kind)
            wanted = "int32" if name == "positions" else "float32"
            check(kind.dtype == wanted, f"{name} of {wanted}", kind.dtype)
    qkv = need(given["qkv"], "qkv")
    check(len(qkv.shape) == 2, "qkv of rank 2", f"shape {qkv.shape}")
    heads, kv_heads, depth = head_counts(node, qkv.shape[1])
    check_numbers(node, cached=given["past_key"] is not None)
    _shaped(given, "positions", (qkv.shape[0],))
    _shaped(given, "q_norm", (depth,))
    _shaped(given, "k_norm", (depth,))
    rotary = given["inv_freq"]
    if rotary is not None:
        check(len(rotary.shape) == 1, "inv_freq of rank 1", f"shape {rotary.shape}")
        half = known_size(rotary.shape[0], "size of inv_freq")
        check(1 <= half <= depth // 2, f"1 to {depth // 2} frequencies for heads of {depth}", half)
    past_key, past_value = given["past_key"], given["past_value"]
    check((past_key is None) == (past_value is None), "past_key and past_value together", "one of them")
    out = TensorType("float32", (qkv.shape[0], heads * depth))
    if past_key is None or past_value is None:
        return [out]
    need(given["positions"], "positions, which say where in the cache the rows go")
    check(len(past_key.shape) == 3, "past_key [kv heads, context, depth]", f"shape {past_key.shape}")
    cache = (kv_heads, past_key.shape[1], depth)
    for name in ("past_key", "past_value"):
        _shaped(given, name, cache)
    return [out, TensorType("float32", cache), TensorType("float32", cache)]


def head_counts(node: Node, width: Dim) -> tuple[int, int, int]:
    """(query heads, key-value heads, depth of a head) of packed rows of `width`. Raises UnsupportedError."""
    heads, kv_heads = node.attr_int("num_heads", 0), node.attr_int("kv_num_heads", 0)
    good = heads >= 1 and kv_heads >= 1 and heads % kv_heads == 0
    check(good, "num_heads >= 1, a multiple of kv_num_heads >= 1", f"{heads} and {kv_heads}")
    packed = known_size(width, "width of qkv")
    parts = heads + 2 * kv_heads
    good = packed >= parts and packed % parts == 0
    check(good, f"qkv of {parts} heads ({heads} queries, {kv_heads} keys, {kv_heads} values)", f"width {packed}")
    return heads, kv_heads, packed // parts


def check_numbers(node: Node, cached: bool) -> None:
    """Raises UnsupportedError for attributes out of range, or that need a cache."""
    for key, least in (("scale", 0.0), ("softcap", 0.0), ("rotary_scale", 0.0), ("qk_norm_epsilon", 0.0)):
        number = node.attr_float(key, least)
        check(math.isfinite(number) and number >= least, f"{key} >= {least:g}, finite", number)
    window, causal = node.attr_int("local_window_size", 0), node.attr_int("causal", 1)
    check(window >= 0, "local_window_size >= 0", window)
    check(causal in (0, 1), "causal 0 or 1", causal)
    check(causal == 1 or window == 0, "local_window_size 0 where causal is 0", window)
    check(causal == 1 or not cached, "causal 1 with a cache", "causal 0")


def _shaped(given: dict[str, TensorType | None], name: str, shape: tuple[Dim, ...]) -> None:
    """Raises UnsupportedError unless input `name`, if present, has `shape`."""
    kind = given[name]
    if kind is None:
        return
    check(len(kind.shape) == len(shape), f"{name} of shape {shape}", f"shape {kind.shape}")
    for axis, dims in enumerate(zip(shape, kind.shape, strict=True)):
        merge_dims(dims, f"axis {axis} of {name} (expected, found)")
