"""What the tensors of each family are called in GGUF files and in Hugging Face checkpoints, by their role.
How they are stored there is said here too; which of them a model needs is in `tensors.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgert.converters.llm.architecture import Architecture
from edgert.converters.llm.checkpoint import Checkpoint


@dataclass(frozen=True)
class Naming:
    """stems: role -> name without '.weight' or '.bias'; {i} is the layer, {p} one of `prefixes`, the one under
    which the embedding is found. ignored: patterns of names that are known and carry nothing a graph needs.

    offset_norms: norms store scale - 1 (Gemma). transposed: linear layers of the blocks are [inputs, outputs]
    (Conv1D of GPT-2). interleaved: rows of query and key pair neighbours for rope, 2 i with 2 i + 1.
    """

    stems: Mapping[str, str]
    prefixes: tuple[str, ...] = ("",)
    ignored: tuple[str, ...] = ()
    offset_norms: bool = False
    transposed: bool = False
    interleaved: bool = False


def naming_of(architecture: Architecture, format: Literal["gguf", "safetensors"]) -> Naming:
    """The names of the tensors of `architecture`, one that `from_gguf` or `from_huggingface` made."""
    return (GGUF if format == "gguf" else HUGGING_FACE)[architecture.name]


def prefix_of(naming: Naming, checkpoint: Checkpoint) -> str:
    """The prefix under which `checkpoint` has its embedding; the first if it has none."""
    for prefix in naming.prefixes:
        if naming.stems["embedding"].format(p=prefix) + ".weight" in checkpoint:
            return prefix
    return naming.prefixes[0]


def _layers(prefix: str, stems: Mapping[str, str]) -> dict[str, str]:
    return {role: f"{prefix}{stem}" for role, stem in stems.items()}


_GGUF_ENDS = {"embedding": "token_embd", "output_norm": "output_norm", "output": "output"}
_GGUF_BLOCK = _layers(
    "blk.{i}.",
    {
        "attention_norm": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output",
        "ffn_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
    },
)  # fmt: skip
_GGUF_LLAMA = {**_GGUF_ENDS, **_GGUF_BLOCK}
_GGUF_QK_NORM = _layers("blk.{i}.", {"q_norm": "attn_q_norm", "k_norm": "attn_k_norm"})
_GGUF_POST_NORMS = _layers("blk.{i}.", {"attention_post_norm": "post_attention_norm", "ffn_post_norm": "post_ffw_norm"})
_GGUF_QKV = {"qkv": "blk.{i}.attn_qkv"}
_ROPE_TABLES = (r"rope_freqs\.weight", r"rope_factors_(long|short)\.weight", r"blk\.\d+\.attn_rot_embd")
"""Read as parts of the architecture, or made from it."""

GGUF: dict[str, Naming] = {
    "llama": Naming(_GGUF_LLAMA, ignored=_ROPE_TABLES, interleaved=True),
    "qwen2": Naming(_GGUF_LLAMA, ignored=_ROPE_TABLES),
    "qwen3": Naming({**_GGUF_LLAMA, **_GGUF_QK_NORM}, ignored=_ROPE_TABLES),
    "gemma2": Naming({**_GGUF_LLAMA, **_GGUF_POST_NORMS}, ignored=_ROPE_TABLES),
    "gemma3": Naming({**_GGUF_LLAMA, **_GGUF_POST_NORMS, **_GGUF_QK_NORM}, ignored=_ROPE_TABLES),
    "phi3": Naming({**_GGUF_LLAMA, **_GGUF_QKV, "gate_up": "blk.{i}.ffn_up"}, ignored=_ROPE_TABLES),
    "gpt2": Naming({**_GGUF_LLAMA, **_GGUF_QKV, "positions": "position_embd"}),
    "bert": Naming(
        {
            **_GGUF_LLAMA,
            **_GGUF_QKV,
            "positions": "position_embd",
            "token_types": "token_types",
            "embedding_norm": "token_embd_norm",
            "attention_post_norm": "blk.{i}.attn_output_norm",
            "ffn_post_norm": "blk.{i}.layer_output_norm",
        },
        ignored=(r"cls\.(output\.)?(weight|bias)",),
    ),
}

_HF_LLAMA = {
    "embedding": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    **_layers(
        "model.layers.{i}.",
        {
            "attention_norm": "input_layernorm", "q": "self_attn.q_proj", "k": "self_attn.k_proj",
            "v": "self_attn.v_proj", "o": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
            "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
        },
    ),
}  # fmt: skip
_HF_QK_NORM = _layers("model.layers.{i}.self_attn.", {"q_norm": "q_norm", "k_norm": "k_norm"})
_HF_GEMMA_NORMS = _layers(
    "model.layers.{i}.",
    {
        "attention_post_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "ffn_post_norm": "post_feedforward_layernorm",
    },
)
_HF_PHI3 = {
    **_HF_LLAMA,
    "qkv": "model.layers.{i}.self_attn.qkv_proj",
    "gate_up": "model.layers.{i}.mlp.gate_up_proj",
}
_HF_GPT2 = {
    "embedding": "{p}wte", "positions": "{p}wpe", "output_norm": "{p}ln_f", "output": "lm_head",
    **_layers(
        "{p}h.{i}.",
        {
            "attention_norm": "ln_1", "qkv": "attn.c_attn", "o": "attn.c_proj", "ffn_norm": "ln_2",
            "up": "mlp.c_fc", "down": "mlp.c_proj",
        },
    ),
}  # fmt: skip
_HF_BERT = {
    **_layers(
        "{p}embeddings.",
        {
            "embedding": "word_embeddings", "positions": "position_embeddings",
            "token_types": "token_type_embeddings", "embedding_norm": "LayerNorm",
        },
    ),
    **_layers(
        "{p}encoder.layer.{i}.",
        {
            "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
            "o": "attention.output.dense", "attention_post_norm": "attention.output.LayerNorm",
            "up": "intermediate.dense", "down": "output.dense", "ffn_post_norm": "output.LayerNorm",
        },
    ),
}  # fmt: skip
_ROPE_BUFFERS = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)

HUGGING_FACE: dict[str, Naming] = {
    "llama": Naming(_HF_LLAMA, ignored=_ROPE_BUFFERS),
    "qwen2": Naming(_HF_LLAMA, ignored=_ROPE_BUFFERS),
    "qwen3": Naming({**_HF_LLAMA, **_HF_QK_NORM}, ignored=_ROPE_BUFFERS),
    "gemma2": Naming({**_HF_LLAMA, **_HF_GEMMA_NORMS}, ignored=_ROPE_BUFFERS, offset_norms=True),
    "gemma3": Naming({**_HF_LLAMA, **_HF_GEMMA_NORMS, **_HF_QK_NORM}, ignored=_ROPE_BUFFERS, offset_norms=True),
    "phi3": Naming(_HF_PHI3, ignored=_ROPE_BUFFERS),
    "gpt2": Naming(
        _HF_GPT2, ("transformer.", ""), (r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)",), transposed=True
    ),
    "bert": Naming(
        _HF_BERT, ("", "bert."), (r"(bert\.)?embeddings\.position_ids", r"(bert\.)?pooler\.dense\..*", r"cls\..*")
    ),
}
