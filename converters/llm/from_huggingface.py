"""Architectures from the config.json of Hugging Face checkpoints: one function for each family.
Defaults of absent keys are those of the `transformers` configuration classes. Tensor names are in `names.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgert.converters.llm.architecture import Activation, Architecture
from edgert.converters.llm.rope import MIN_BASE, Rope, rope_of
from edgert.converters.llm.settings import Settings
from edgert.errors import UnsupportedError

ACTIVATIONS: dict[str, Activation] = {
    "silu": "Silu",
    "swish": "Silu",
    "gelu": "Gelu",
    "gelu_new": "GeluTanh",
    "gelu_fast": "GeluTanh",
    "gelu_pytorch_tanh": "GeluTanh",
    "relu": "Relu",
}


def architecture_from_config(config: Mapping[str, Any], path: Path) -> Architecture:
    """What config.json describes.

    Raises UnsupportedError for an architecture or a setting that edgert does not know, FormatError for a value
    that is missing or makes no sense; `path` is for messages.
    """
    settings = Settings(config, path)
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else settings.text("model_type")
    if name not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UnsupportedError(f"{path}: expected an architecture among {known}; found {name!r}")
    if settings.has("quantization_config"):
        raise UnsupportedError(
            f"{path}: expected weights in floating point, found a checkpoint with quantization_config; "
            "take the one it was made from, or a GGUF file"
        )
    found = FAMILIES[name](settings)
    found.check(path)
    return found


def llama(s: Settings) -> Architecture:
    """Llama and what shares its configuration: Source: Touvron et al. 2023."""
    heads, width = s.integer("num_attention_heads"), s.integer("hidden_size")
    head_dim = s.integer("head_dim", max(width // heads, 1))
    context = s.integer("max_position_embeddings", 2048)
    bias = s.flag("attention_bias", False)
    return Architecture(
        name="llama",
        vocabulary=s.integer("vocab_size"),
        context_length=context,
        layers=s.integer("num_hidden_layers", high=1 << 16),
        width=width,
        heads=heads,
        kv_heads=s.integer("num_key_value_heads", heads),
        head_dim=head_dim,
        ffn=s.integer("intermediate_size"),
        norm_epsilon=s.number("rms_norm_eps", 1e-6),
        activation=activation(s, "hidden_act", "silu"),
        rope=rope(s, head_dim, context),
        tied=s.flag("tie_word_embeddings", False),
        qkv_bias=bias,
        output_bias=bias,
        ffn_bias=s.flag("mlp_bias", False),
    )


def mistral(s: Settings) -> Architecture:
    """Llama with a window on every layer. Source: Jiang et al. 2023."""
    found = llama(replace(s, values={"num_key_value_heads": 8, **s.values}))
    window = s.integer("sliding_window", 0 if "sliding_window" in s.values else 4096)
    return replace(found, windows=(window,) * found.layers if window else ())


def qwen2(s: Settings) -> Architecture:
    """Llama with biases of query, key and value. Source: Yang et al. 2024."""
    return replace(llama(s), name="qwen2", qkv_bias=True, output_bias=False, windows=qwen_windows(s))


def qwen3(s: Settings) -> Architecture:
    """Llama with normalized queries and keys. Source: Qwen team 2025."""
    if not s.has("head_dim"):
        s = replace(s, values={**s.values, "head_dim": 128})
    return replace(llama(s), name="qwen3", qk_norm=True, windows=qwen_windows(s))


def qwen_windows(s: Settings) -> tuple[int, ...]:
    """Windows from layer `max_window_layers` on, if they are used at all."""
    layers = s.integer("num_hidden_layers", high=1 << 16)
    if not s.flag("use_sliding_window", False) or not s.has("sliding_window"):
        return ()
    first = s.integer("max_window_layers", 28, low=0)
    return windows(s, s.integer("sliding_window"), [i >= first for i in range(layers)])


def gemma2(s: Settings) -> Architecture:
    """Norms around, soft caps, a window on every other layer. Source: Gemma team 2024."""
    width = s.integer("hidden_size")
    found = llama(replace(s, values={"head_dim": 256, "max_position_embeddings": 8192, **s.values}))
    if s.flag("use_bidirectional_attention", False):
        raise UnsupportedError(f"{s.path}: expected causal attention, found use_bidirectional_attention")
    return replace(
        found,
        name="gemma2",
        norms="around",
        activation=activation(s, "hidden_activation", "gelu_pytorch_tanh"),
        tied=s.flag("tie_word_embeddings", True),
        embedding_scale=math.sqrt(width),
        attention_scale=s.number("query_pre_attn_scalar", 256.0, low=1e-6) ** -0.5,
        attention_softcap=softcap(s, "attn_logit_softcapping", 50.0),
        logit_softcap=softcap(s, "final_logit_softcapping", 30.0),
        windows=windows(s, s.integer("sliding_window", 4096), [i % 2 == 0 for i in range(found.layers)]),
    )


def gemma3(s: Settings) -> Architecture:
    """Gemma 2 with normalized queries and keys for soft caps, and five layers with a window to one without,
    which have a rope of their own. Source: Gemma team 2025."""
    s = replace(s, values={"attn_logit_softcapping": 0.0, "final_logit_softcapping": 0.0, **s.values})
    found = gemma2(replace(s, values={"max_position_embeddings": 131072, **s.values, "rope_parameters": None}))
    pattern = s.integer("sliding_window_pattern", 6)
    ropes, scaling = s.table("rope_parameters"), s.table("rope_scaling")
    full, local = (ropes.table("full_attention"), ropes.table("sliding_attention")) if ropes else (scaling, None)
    base = s.number("rope_theta", 1e6, low=MIN_BASE), s.number("rope_local_base_freq", 1e4, low=MIN_BASE)
    context = found.context_length
    return replace(
        found,
        name="gemma3",
        qk_norm=True,
        rope=scaled_rope(full or Settings({}, s.path), base[0], found.head_dim, context),
        local_rope=scaled_rope(local or Settings({}, s.path), base[1], found.head_dim, context),
        windows=windows(s, s.integer("sliding_window", 4096), [(i + 1) % pattern > 0 for i in range(found.layers)]),
    )


def phi3(s: Settings) -> Architecture:
    """Llama with fused matrices and LongRoPE. Source: Abdin et al. 2024."""
    defaults = {"rms_norm_eps": 1e-5, "sliding_window": None, "num_key_value_heads": None}
    return replace(mistral(replace(s, values={**defaults, **s.values})), name="phi3")


def gpt2(s: Settings) -> Architecture:
    """Learned positions, biases, layer normalization. Source: Radford et al. 2019."""
    for key in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        if s.flag(key, False):
            raise UnsupportedError(f"{s.path}: expected {key} false, found true")
    if not s.flag("scale_attn_weights", True):
        raise UnsupportedError(f"{s.path}: expected scale_attn_weights true, found false")
    heads, width = s.integer("n_head", 12), s.integer("n_embd", 768)
    context = s.integer("n_positions", 1024)
    return Architecture(
        name="gpt2",
        vocabulary=s.integer("vocab_size", 50257),
        context_length=context,
        layers=s.integer("n_layer", 12, high=1 << 16),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_dim=max(width // heads, 1),
        ffn=s.integer("n_inner", 4 * width),
        norm_epsilon=s.number("layer_norm_epsilon", 1e-5),
        norm="LayerNormalization",
        activation=activation(s, "activation_function", "gelu_new"),
        gated=False,
        tied=s.flag("tie_word_embeddings", True),
        qkv_bias=True,
        output_bias=True,
        ffn_bias=True,
        positions=context,
    )


def bert(s: Settings) -> Architecture:
    """An encoder with norms after the sums. Source: Devlin et al. 2018."""
    kind = s.text("position_embedding_type", "absolute")
    if kind != "absolute":
        raise UnsupportedError(f"{s.path}: expected position_embedding_type 'absolute', found {kind!r}")
    if s.flag("is_decoder", False):
        raise UnsupportedError(f"{s.path}: expected a BERT encoder, found is_decoder true")
    heads, width = s.integer("num_attention_heads", 12), s.integer("hidden_size", 768)
    context = s.integer("max_position_embeddings", 512)
    return Architecture(
        name="bert",
        vocabulary=s.integer("vocab_size", 30522),
        context_length=context,
        layers=s.integer("num_hidden_layers", 12, high=1 << 16),
        width=width,
        heads=heads,
        kv_heads=heads,
        head_dim=max(width // heads, 1),
        ffn=s.integer("intermediate_size", 3072),
        norm_epsilon=s.number("layer_norm_eps", 1e-12),
        norm="LayerNormalization",
        norms="after",
        activation=activation(s, "hidden_act", "gelu"),
        gated=False,
        qkv_bias=True,
        output_bias=True,
        ffn_bias=True,
        positions=context,
        token_types=s.integer("type_vocab_size", 2),
        causal=False,
    )


def activation(s: Settings, key: str, default: str) -> Activation:
    """Raises UnsupportedError for one that edgert's gated and plain layers do not have."""
    name = s.text(key, default)
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise UnsupportedError(f"{s.path}: expected {key} among {known}; found {name!r}")
    return ACTIVATIONS[name]


def softcap(s: Settings, key: str, default: float) -> float:
    """The cap under `key`; a null means none, an absent key the default."""
    return s.number(key, 0.0 if key in s.values else default)


def windows(s: Settings, window: int, local: list[bool]) -> tuple[int, ...]:
    """The window of each layer: of those that `layer_types` lists as sliding, else of those that are `local`."""
    kinds = s.raw("layer_types")
    if kinds is not None:
        known = ("sliding_attention", "full_attention")
        if not isinstance(kinds, list) or len(kinds) != len(local) or any(kind not in known for kind in kinds):
            raise s.wrong("layer_types", f"{len(local)} times {' or '.join(known)}")
        local = [kind == known[0] for kind in kinds]
    return tuple(window if there else 0 for there in local)


def rope(s: Settings, head_dim: int, context: int) -> Rope:
    """From `rope_parameters` (since transformers 5) or `rope_scaling` with `rope_theta` (before)."""
    base = s.number("rope_theta", 1e4, low=MIN_BASE)
    table = s.table("rope_parameters") or s.table("rope_scaling") or Settings({}, s.path)
    inherited = {key: s.raw(key) for key in ("partial_rotary_factor", "original_max_position_embeddings") if s.has(key)}
    return scaled_rope(Settings({**inherited, **table.values}, s.path), base, head_dim, context)


def scaled_rope(table: Settings, base: float, head_dim: int, context: int) -> Rope:
    """The rope that an entry of `rope_scaling` or `rope_parameters` describes."""
    dim = int(head_dim * table.number("partial_rotary_factor", 1.0, high=1.0))
    kind = table.text("rope_type", table.text("type", "default"))
    kind = "longrope" if kind == "su" or (kind == "yarn" and table.has("short_factor")) else kind
    return rope_of(table.number("rope_theta", base, low=MIN_BASE), dim - dim % 2, kind, table, context)


FAMILIES: dict[str, Callable[[Settings], Architecture]] = {
    "LlamaForCausalLM": llama,
    "MistralForCausalLM": mistral,
    "Qwen2ForCausalLM": qwen2,
    "Qwen3ForCausalLM": qwen3,
    "Gemma2ForCausalLM": gemma2,
    "Gemma3ForCausalLM": gemma3,
    "Phi3ForCausalLM": phi3,
    "GPT2LMHeadModel": gpt2,
    "BertModel": bert,
}
"""By the class that config.json names first under `architectures`."""
