"""LinearAttention: a matrix of state per head that every token updates and is answered from.
Attention by softmax is in `attention.py`; a causal convolution is written in simpler operators by the importer."""

from __future__ import annotations

import math

import numpy as np

from edgert.kernels_cpu.reference.activation import widened
from edgert.kernels_cpu.reference.registry import Array, Call, reference


@reference("LinearAttention")
def linear_attention(
    call: Call, query: Array, key: Array, value: Array, past: Array | None = None, decay: Array | None = None,
    beta: Array | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """query [B, T, Hq*dk], key [B, T, H*dk], value [B, T, H*dv], past state [B, H, dk, dv], decay [B, T, H*dk or H] as
    logarithms, beta [B, T, H or 1]: output [B, T, Hq*dv] and the new state. For each token

        S = exp(decay) S;  S = S + beta k (v - S'k)' where the rule is a delta, else S + k v';  output = scale S'q

    Source: ONNX LinearAttention-27; Yang et al. 2024, "Gated Delta Networks", equation 10."""
    heads, kv_heads = call.attr_int("q_num_heads", 1), call.attr_int("kv_num_heads", 1)
    batch, steps = key.shape[:2]
    q, k, v = (widened(x).reshape(batch, steps, n, -1) for x, n in ((query, heads), (key, kv_heads), (value, kv_heads)))
    depth, width = k.shape[3], v.shape[3]
    rule = call.attr_str("update_rule", "gated_delta")
    scale = np.asarray(call.attr_float("scale", 0.0) or 1 / math.sqrt(depth), q.dtype)
    state = np.zeros((batch, kv_heads, depth, width), q.dtype) if past is None else past.astype(q.dtype)
    y = np.zeros((batch, steps, kv_heads, heads // kv_heads, width), q.dtype)
    for t in range(steps):
        if decay is not None and rule in ("gated", "gated_delta"):
            state = state * np.exp(widened(decay)[:, t].reshape(batch, kv_heads, -1, 1))
        new = v[:, t]
        if beta is not None and rule in ("delta", "gated_delta"):
            rate = widened(beta)[:, t, :, None]
            new = rate * (new - np.einsum("bhkv,bhk->bhv", state, k[:, t]))
        state = state + k[:, t, :, :, None] * new[:, :, None]
        asked = q[:, t].reshape(batch, kv_heads, -1, depth)
        y[:, t] = scale * np.einsum("bhkv,bhgk->bhgv", state, asked)
    return y.reshape(batch, steps, heads * width).astype(query.dtype), state.astype(
        query.dtype if past is None else past.dtype
    )
