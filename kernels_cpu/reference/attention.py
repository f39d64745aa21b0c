"""Attention: GroupQueryAttention with packed heads, rotary positions and a key-value cache.
The norms beside it are in `norm.py`; here are only those of single heads."""

from __future__ import annotations

import math

import numpy as np

from edgert.errors import InputError
from edgert.kernels_cpu.reference.registry import Array, Call, reference


def head_norm(x: Array, weight: Array | None, epsilon: float) -> Array:
    """x [T, heads, d] with each head divided by its root mean square, times weight [d]; x without a weight.
    Source: Zhang and Sennrich 2019, equation 4."""
    if weight is None:
        return x
    square = np.mean(x * x, axis=-1, keepdims=True)
    return np.asarray(x / np.sqrt(square + np.float32(epsilon)) * weight)


def rotary_table(positions: Array, inv_freq: Array, scale: float) -> tuple[Array, Array]:
    """(cosines, sines) float32 [T, r/2] of position * inv_freq, times scale; angles in double precision."""
    angle = positions.astype(np.float64)[:, None] * inv_freq.astype(np.float64)
    return (scale * np.cos(angle)).astype(np.float32), (scale * np.sin(angle)).astype(np.float32)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """x [T, heads, d] with elements i and i + r/2 rotated by angle i; from r on they stay. cos, sin [T, r/2].
    Source: Su et al. 2021, section 3.4.2, in the half-split order of GPT-NeoX."""
    half = cos.shape[1]
    low, high, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    cos, sin = cos[:, None], sin[:, None]
    return np.concatenate([low * cos - high * sin, high * cos + low * sin, rest], axis=-1)


def attend(query: Array, key: Array, value: Array, masked: Array | None, softcap: float) -> Array:
    """softmax(query key') value: query [R, d] (scaled), key and value [S, d], masked bool [R, S]; to [R, d]."""
    scores = query @ key.T
    if softcap:
        scores = np.float32(softcap) * np.tanh(scores / np.float32(softcap))
    if masked is not None:
        scores[masked] = -np.inf
    weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True, initial=-np.inf))
    return np.asarray(weights @ value / np.sum(weights, axis=-1, keepdims=True))


@reference("GroupQueryAttention")
def group_query_attention(
    call: Call, qkv: Array, past_key: Array | None = None, past_value: Array | None = None,
    positions: Array | None = None, inv_freq: Array | None = None, q_norm: Array | None = None,
    k_norm: Array | None = None,
) -> tuple[Array, ...]:  # fmt: skip
    """qkv [T, (H+2KV)*d]; past_key, past_value [KV, C, d]; positions int32 [T], consecutive; inv_freq [r/2]; q_norm,
    k_norm [d]. Returns y [T, H*d] and, with a cache, present_key and present_value: the past with the keys and
    values of this run at their positions. Row t sees cache positions 0..positions[t], the last local_window_size
    of them if that is set; without a cache the rows of this run, all of them where causal is 0.

    Raises InputError for positions outside of the cache. Source: com.microsoft GroupQueryAttention; Ainslie et al.
    2023; soft caps: Gemma 2 report, section 2."""
    heads, kv_heads = call.attr_int("num_heads", 1), call.attr_int("kv_num_heads", 1)
    rows, depth = qkv.shape[0], qkv.shape[1] // (heads + 2 * kv_heads)
    query, key, value = np.split(qkv.reshape(rows, heads + 2 * kv_heads, depth), [heads, heads + kv_heads], axis=1)
    at = np.arange(rows) if positions is None else positions.astype(np.int64)
    query = head_norm(query, q_norm, call.attr_float("qk_norm_epsilon", 1e-6))
    key = head_norm(key, k_norm, call.attr_float("qk_norm_epsilon", 1e-6))
    if inv_freq is not None:
        cos, sin = rotary_table(at, inv_freq, call.attr_float("rotary_scale", 1.0))
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
    keys, values = key.swapaxes(0, 1), value.swapaxes(0, 1)
    presents: tuple[Array, ...] = ()
    if past_key is not None and past_value is not None:
        check_positions(at, past_key.shape[1])
        presents = past_key.copy(), past_value.copy()
        presents[0][:, at], presents[1][:, at] = keys, values
        seen = int(at[-1]) + 1 if rows else 0
        keys, values = presents[0][:, :seen], presents[1][:, :seen]
    else:
        at = np.arange(rows)
    query = query * np.float32(call.attr_float("scale", 0.0) or 1 / math.sqrt(depth))
    masked = None
    if call.attr_int("causal", 1):
        other, window = np.arange(keys.shape[1]), call.attr_int("local_window_size", 0) or keys.shape[1]
        masked = np.tile((other > at[:, None]) | (other <= at[:, None] - window), (heads // kv_heads, 1))
    y = np.zeros((kv_heads, heads // kv_heads, rows, depth), np.float32)
    grouped = query.transpose(1, 0, 2).reshape(kv_heads, y.shape[1] * rows, depth)
    for h in range(kv_heads if rows else 0):
        y[h] = attend(grouped[h], keys[h], values[h], masked, call.attr_float("softcap", 0.0)).reshape(y[h].shape)
    return y.reshape(heads, rows, depth).swapaxes(0, 1).reshape(rows, heads * depth), *presents


def check_positions(positions: Array, context: int) -> None:
    """Raises InputError unless `positions` are consecutive and within the cache."""
    if positions.size and (np.any(np.diff(positions) != 1) or positions[0] < 0 or positions[-1] >= context):
        raise InputError(
            f"expected consecutive positions in [0, {context}), found {positions[0]}..{positions[-1]}; "
            "a longer context needs a larger cache"
        )
