"""A tiny Hugging Face model written as a GGUF file, as llama.cpp's convert_hf_to_gguf.py stores it."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

RENAMED = {
    r"(model\.embed_tokens|(transformer\.)?wte|embeddings\.word_embeddings)\.": "token_embd.",
    r"((transformer\.)?wpe|embeddings\.position_embeddings)\.": "position_embd.",
    r"embeddings\.token_type_embeddings\.": "token_types.",
    r"embeddings\.LayerNorm\.": "token_embd_norm.",
    r"(model\.norm|(transformer\.)?ln_f)\.": "output_norm.",
    r"lm_head\.": "output.",
    r"(model\.layers|(transformer\.)?h|encoder\.layer)\.(?P<i>\d+)\.": r"blk.\g<i>.",
}
INSIDE = {
    "input_layernorm": "attn_norm", "ln_1": "attn_norm", "ln_2": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.qkv_proj": "attn_qkv", "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.gate_up_proj": "ffn_up", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip
POST_NORM = {False: {"post_attention_layernorm": "ffn_norm"}, True: {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}}  # fmt: skip


def gguf_name(name: str, gemma: bool) -> str:
    for pattern, place in RENAMED.items():
        if re.match(pattern, name):
            start = re.match(pattern, name).expand(place)  # type: ignore[union-attr]
            rest = re.sub(pattern, "", name, count=1)
            stem, _, suffix = rest.rpartition(".")
            return start + ({**INSIDE, **POST_NORM[gemma]}[stem] + "." if stem else "") + suffix
    raise AssertionError(name)


def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """`LlamaModel.permute` of convert_hf_to_gguf.py."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def gguf_tensors(model: Any, arch: str) -> dict[str, np.ndarray]:
    """GGUF names and values of a tiny model."""
    gemma, made = arch.startswith("gemma"), {}
    for name, values in model.weights.items():
        if "pooler" in name:
            continue
        if arch == "llama" and re.search(r"\.[qk]_proj\.", name):
            heads = model.config["num_attention_heads" if ".q_proj" in name else "num_key_value_heads"]
            values = interleaved(values, heads)
        if gemma and values.ndim == 1:
            values = values + np.float32(1)
        if arch == "gpt2" and re.search(r"(c_attn|c_proj|c_fc)\.weight", name):
            values = values.T
        made[gguf_name(name, gemma)] = np.ascontiguousarray(values)
    return made


def gguf_metadata(model: Any, arch: str) -> dict[str, Any]:
    """The keys llama.cpp writes for `arch`, from a configuration of transformers."""
    c = model.config
    get = lambda *keys: next(c[key] for key in keys if c.get(key) is not None)  # noqa: E731
    heads, width = get("num_attention_heads", "n_head"), get("hidden_size", "n_embd")
    layer_norm = "layer_norm_epsilon" if arch in ("gpt2", "bert") else "layer_norm_rms_epsilon"
    keys: dict[str, Any] = {
        "context_length": get("max_position_embeddings", "n_positions"),
        "embedding_length": width,
        "block_count": get("num_hidden_layers", "n_layer"),
        "feed_forward_length": get("intermediate_size", "n_inner"),
        "attention.head_count": heads,
        f"attention.{layer_norm}": float(get("rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps")),
    }
    if "num_key_value_heads" in c:
        keys["attention.head_count_kv"] = c["num_key_value_heads"]
    if c.get("head_dim"):
        keys["attention.key_length"] = keys["attention.value_length"] = c["head_dim"]
    rope = c.get("rope_parameters") or {}
    rope = {**rope, **rope.get("full_attention", {})}
    if "rope_theta" in rope:
        keys["rope.freq_base"] = float(rope["rope_theta"])
    if arch == "phi3":
        keys["rope.dimension_count"] = int(width // heads * rope["partial_rotary_factor"])
    if rope.get("rope_type") in ("linear", "yarn"):
        keys |= {"rope.scaling.type": rope["rope_type"], "rope.scaling.factor": float(rope["factor"])}
    if rope.get("rope_type") == "yarn":
        keys |= {
            "rope.scaling.original_context_length": rope["original_max_position_embeddings"],
            "rope.scaling.yarn_beta_fast": float(rope["beta_fast"]),
        }
    for theirs, ours in (
        ("sliding_window", "attention.sliding_window"),
        ("attn_logit_softcapping", "attn_logit_softcapping"),
        ("final_logit_softcapping", "final_logit_softcapping"),
    ):
        if c.get(theirs):
            keys[ours] = c[theirs]
    size = c["vocab_size"]
    words = {
        "model": "bert", "tokens": ["[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(size - 3))],
        "token_type": [1] * size, "unknown_token_id": 0, "bos_token_id": 1, "cls_token_id": 1,
        "seperator_token_id": 2, "scores": [0.0] * size,
    }  # fmt: skip
    return {
        "general.architecture": arch,
        "general.name": "a tiny model",
        **{f"{arch}.{key}": value for key, value in keys.items()},
        **{f"tokenizer.ggml.{key}": value for key, value in words.items()},
    }


def write_gguf(path: Path, metadata: dict[str, Any], tensors: dict[str, tuple[int, tuple[int, ...], bytes]]) -> Path:
    """A GGUF v3 file. tensors: name -> (ggml type, shape in NumPy order, bytes)."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def item(value: Any) -> tuple[int, bytes]:
        if isinstance(value, bool):
            return 7, struct.pack("<?", value)
        if isinstance(value, str):
            return 8, text(value)
        if isinstance(value, list):
            items = [item(v) for v in value]
            return 9, struct.pack("<IQ", items[0][0], len(items)) + b"".join(data for _, data in items)
        return (4, struct.pack("<I", value)) if isinstance(value, int) else (6, struct.pack("<f", value))

    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        kind, data = item(value)
        head += text(key) + struct.pack("<I", kind) + data
    body = b""
    for name, (kind, shape, data) in tensors.items():
        body += bytes(-len(body) % 32)
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind, len(body))
        body += data
    path.write_bytes(head + bytes(-len(head) % 32) + body)
    return path


def save_gguf(path: Path, model: Any, arch: str, changes: dict[str, Any] | None = None) -> Path:
    """A tiny model as a GGUF file in float32; `changes` to the metadata, None takes a key away."""
    metadata = {**gguf_metadata(model, arch), **(changes or {})}
    tensors = {name: (0, a.shape, a.astype("<f4").tobytes()) for name, a in gguf_tensors(model, arch).items()}
    return write_gguf(path, {key: value for key, value in metadata.items() if value is not None}, tensors)
