"""Tiny models of every architecture: their configurations, and weights that follow from the names of tensors."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TOKENS = [5, 17, 3, 60, 8, 8, 41, 22, 0, 63, 12, 7, 31, 50]

_LLAMA: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_GEMMA = {**_LLAMA, "num_hidden_layers": 4, "head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 4}


def _scaled(kind: str, **values: Any) -> dict[str, Any]:
    rope = {"rope_type": kind, "rope_theta": 1000.0, "original_max_position_embeddings": 16, **values}
    return {**_LLAMA, "rope_parameters": rope}


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {**_LLAMA, "rope_theta": 500.0}),
    "llama_biased": ("LlamaForCausalLM", {**_LLAMA, "attention_bias": True, "mlp_bias": True, "head_dim": 12}),
    "llama_linear": ("LlamaForCausalLM", _scaled("linear", factor=4.0)),
    "llama_dynamic": ("LlamaForCausalLM", _scaled("dynamic", factor=4.0)),
    "llama_yarn": ("LlamaForCausalLM", _scaled("yarn", factor=4.0, beta_fast=4.0)),
    "llama3": (
        "LlamaForCausalLM",
        {**_scaled("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0), "tie_word_embeddings": True},
    ),
    "mistral": ("MistralForCausalLM", {**_LLAMA, "sliding_window": 5, "head_dim": 16}),
    "qwen2": ("Qwen2ForCausalLM", {**_LLAMA, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3ForCausalLM", {**_LLAMA, "head_dim": 16}),
    "gemma2": ("Gemma2ForCausalLM", {**_GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}),
    "gemma3": (
        "Gemma3ForCausalLM",
        {**_GEMMA, "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
         "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                             "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    ),
    "phi3": ("Phi3ForCausalLM", {**_LLAMA, "partial_rotary_factor": 0.5, "sliding_window": 6}),
    "phi3_longrope": (
        "Phi3ForCausalLM",
        {**_LLAMA, "original_max_position_embeddings": 16,
         "rope_parameters": {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.5, 2.0],
                             "long_factor": [2.0, 3.0, 4.0, 8.0]}},
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, "n_inner": 48,
         "bos_token_id": 1, "eos_token_id": 1},
    ),
    "bert": (
        "BertModel",
        {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 48, "max_position_embeddings": 32},
    ),
}  # fmt: skip
"""name -> (class of transformers, arguments of its configuration)."""


def tiny_weights(shapes: Mapping[str, Sequence[int]], kind: str) -> dict[str, np.ndarray]:
    """float32 values for each tensor, the same wherever they are made: scales near 1 (Gemma stores them less 1),
    biases near 0, matrices that keep the size of what they multiply."""
    made = {}
    for name, shape in shapes.items():
        values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape))
        if len(shape) > 1:
            values *= 0.2
        else:
            is_scale = name.endswith(".weight") and not kind.startswith("Gemma")
            values = 0.1 * values + (1.0 if is_scale else 0.0)
        made[name] = values.astype(np.float32)
    return made


def tiny_tokenizer(size: int) -> dict[str, Any]:
    """A tokenizer.json of `size` words, t0 to t<size - 1>."""
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "decoder": None,
        "model": {"type": "WordLevel", "vocab": {f"t{i}": i for i in range(size)}, "unk_token": "t0"},
    }  # fmt: skip
