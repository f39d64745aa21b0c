"""Architectures from the metadata of GGUF files, whose keys begin with the name of the family.
Source: the GGUF specification, and llama.cpp for what a family implies. Tensor names are in `names.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgert.converters.llm.architecture import Architecture
from edgert.converters.llm.checkpoint import Checkpoint
from edgert.converters.llm.rope import MIN_BASE, Rope, plain, rope_of
from edgert.converters.llm.settings import Settings
from edgert.errors import FormatError, UnsupportedError

GEMMA2_LARGE, GEMMA3_LARGE = 46, 62
"""Layers of the 27B models, which alone scale scores by width / heads in place of the head dimension."""


def architecture_from_gguf(checkpoint: Checkpoint) -> Architecture:
    """What the metadata describes; a few things only show in which tensors there are.

    Raises UnsupportedError for an architecture or a setting that edgert does not know, FormatError for a value
    that is missing or makes no sense.
    """
    general = Settings(checkpoint.metadata, checkpoint.path)
    name = general.text("general.architecture")
    if name not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UnsupportedError(f"{checkpoint.path}: expected an architecture among {known}; found {name!r}")
    settings = replace(general, prefix=f"{name}.")
    if settings.integer("expert_count", 0, low=0):
        raise UnsupportedError(f"{checkpoint.path}: expected a model without experts, found {name}.expert_count")
    found = FAMILIES[name](common(settings, name, checkpoint), settings, checkpoint)
    found.check(checkpoint.path)
    return found


def common(s: Settings, name: str, checkpoint: Checkpoint) -> Architecture:
    """What all families write alike."""
    width, heads = s.integer("embedding_length"), per_layer(s, "attention.head_count")
    head_dim = s.integer("attention.key_length", max(width // heads, 1))
    if s.integer("attention.value_length", head_dim) != head_dim:
        raise UnsupportedError(f"{s.path}: expected keys and values of one length, found {name}.attention.value_length")
    epsilon = "attention.layer_norm_rms_epsilon"
    context = s.integer("context_length")
    return Architecture(
        name=name,
        vocabulary=vocabulary(s, checkpoint),
        context_length=context,
        layers=s.integer("block_count", high=1 << 16),
        width=width,
        heads=heads,
        kv_heads=per_layer(s, "attention.head_count_kv", heads),
        head_dim=head_dim,
        ffn=per_layer(s, "feed_forward_length"),
        norm_epsilon=s.number(epsilon if s.has(epsilon) else "attention.layer_norm_epsilon", high=1.0),
        tied="output.weight" not in checkpoint,
        qkv_bias="blk.0.attn_q.bias" in checkpoint or "blk.0.attn_qkv.bias" in checkpoint,
        output_bias="blk.0.attn_output.bias" in checkpoint,
        ffn_bias="blk.0.ffn_down.bias" in checkpoint,
    )


def llama(base: Architecture, s: Settings, checkpoint: Checkpoint) -> Architecture:
    """Llama, Mistral, SmolLM2 and others, whose query and key rows are stored interleaved (see `names.py`); and what
    differs from them in tensors only. Mistral may have a window on every layer."""
    window = s.integer("attention.sliding_window", 0, low=0)
    return replace(base, rope=rope(s, base, checkpoint), windows=(window,) * base.layers if window else ())


def qwen3(base: Architecture, s: Settings, checkpoint: Checkpoint) -> Architecture:
    return replace(base, rope=rope(s, base, checkpoint), qk_norm=True)


def gemma2(base: Architecture, s: Settings, checkpoint: Checkpoint) -> Architecture:
    window = s.integer("attention.sliding_window", 4096)
    return replace(
        gemma(base, GEMMA2_LARGE),
        rope=rope(s, base, checkpoint),
        attention_softcap=s.number("attn_logit_softcapping", 50.0),
        logit_softcap=s.number("final_logit_softcapping", 30.0),
        windows=tuple(window if i % 2 == 0 else 0 for i in range(base.layers)),
    )


def gemma3(base: Architecture, s: Settings, checkpoint: Checkpoint) -> Architecture:
    window = s.integer("attention.sliding_window", 1024)
    local = plain(s.number("rope.freq_base_swa", 1e4, low=MIN_BASE), base.head_dim)
    return replace(
        gemma(base, GEMMA3_LARGE),
        rope=rope(s, base, checkpoint, 1e6),
        local_rope=Rope(tuple(local)),
        qk_norm=True,
        logit_softcap=s.number("final_logit_softcapping", 0.0),
        windows=tuple(window if i % 6 < 5 else 0 for i in range(base.layers)),
    )


def gemma(base: Architecture, large: int) -> Architecture:
    """What both Gemmas have; the model of `large` layers scales its scores differently."""
    per_head = base.width / base.heads if base.layers == large else base.head_dim
    return replace(
        base,
        norms="around",
        activation="GeluTanh",
        embedding_scale=math.sqrt(base.width),
        attention_scale=per_head**-0.5,
    )


def gpt2(base: Architecture, s: Settings, checkpoint: Checkpoint) -> Architecture:
    return replace(
        base,
        norm="LayerNormalization",
        activation="GeluTanh",
        gated=False,
        positions=base.context_length,
    )


def bert(base: Architecture, s: Settings, checkpoint: Checkpoint) -> Architecture:
    if s.flag("attention.causal", False):
        raise UnsupportedError(f"{s.path}: expected a BERT encoder, found bert.attention.causal true")
    types = checkpoint.shape("token_types.weight")[0] if "token_types.weight" in checkpoint else 0
    return replace(
        base,
        norm="LayerNormalization",
        norms="after",
        activation="Gelu",
        gated=False,
        tied=False,
        positions=base.context_length,
        token_types=types,
        causal=False,
    )


def per_layer(s: Settings, key: str, default: int | None = None) -> int:
    """An integer that may be written once for each layer. Raises UnsupportedError if layers differ."""
    values = s.raw(key)
    if isinstance(values, list) and values:
        if any(value != values[0] for value in values):
            raise UnsupportedError(f"{s.path}: expected one {s.prefix}{key} for all layers, found several")
        s = replace(s, values={**s.values, s.prefix + key: values[0]})
    return s.integer(key, default)


def vocabulary(s: Settings, checkpoint: Checkpoint) -> int:
    """Rows of the embedding table: the metadata may count tokens without the padding."""
    shape = checkpoint.shape("token_embd.weight")
    if len(shape) != 2:
        raise FormatError(checkpoint.path, None, "a matrix 'token_embd.weight'", f"shape {list(shape)}")
    return shape[0]


def rope(s: Settings, base: Architecture, checkpoint: Checkpoint, default: float = 1e4) -> Rope:
    """Rope from the metadata, in the terms of Hugging Face's `rope_scaling`, or from tables of factors."""
    theta = s.number("rope.freq_base", default, low=MIN_BASE)
    dim = s.integer("rope.dimension_count", base.head_dim, high=base.head_dim)
    dim -= dim % 2
    if "rope_freqs.weight" in checkpoint:  # Llama 3.1 and later: what each frequency is divided by
        return Rope(tuple(plain(theta, dim) / factors(checkpoint, "rope_freqs.weight", dim // 2)))
    kind = s.text("rope.scaling.type", "none")
    scaling: dict[str, object] = {
        "factor": s.raw("rope.scaling.factor") or s.raw("rope.scale_linear"),
        "original_max_position_embeddings": s.raw("rope.scaling.original_context_length"),
        "beta_fast": s.raw("rope.scaling.yarn_beta_fast"),
        "beta_slow": s.raw("rope.scaling.yarn_beta_slow"),
    }
    if kind == "none" and s.has("rope.scale_linear"):
        kind = "linear"
    if "rope_factors_short.weight" in checkpoint:
        kind = "longrope"
        scaling["attention_factor"] = s.raw("rope.scaling.attn_factor")
        scaling["short_factor"] = factors(checkpoint, "rope_factors_short.weight", dim // 2).tolist()
    found = rope_of(theta, dim, kind, Settings(scaling, s.path), base.context_length)
    return replace(found, scale=found.scale * s.number("rope.scaling.attn_factor", 1.0)) if kind == "yarn" else found


def factors(checkpoint: Checkpoint, name: str, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """`count` positive factors. Raises FormatError for another shape, or values that are not."""
    if checkpoint.shape(name) != (count,):
        raise FormatError(checkpoint.path, None, f"{count} values in {name!r}", f"shape {list(checkpoint.shape(name))}")
    values = checkpoint.load(name).astype(np.float64)
    if values.min() <= 0:
        raise FormatError(checkpoint.path, None, f"positive values in {name!r}", f"{values.min():g}")
    return values


FAMILIES: dict[str, Callable[[Architecture, Settings, Checkpoint], Architecture]] = {
    "llama": llama,
    "qwen2": llama,
    "qwen3": qwen3,
    "gemma2": gemma2,
    "gemma3": gemma3,
    "phi3": llama,
    "gpt2": gpt2,
    "bert": bert,
}
"""By general.architecture."""
