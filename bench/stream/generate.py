"""A llama-shaped model of 1.3 GB at 4 bits with random weights, as .edge and as GGUF Q4_0, written from views.

The weights of every tensor are another stretch of one pool of random blocks, so that making a model takes little
more RAM than its largest tensor, and no two layers have the same bytes.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.sparse_language import Shape, shapes
from edgert.converters.llm.architecture import Architecture
from edgert.converters.llm.decoder import build_decoder
from edgert.converters.llm.rope import Rope
from edgert.format import LanguageInfo, Model, ModelInfo, write_model
from edgert.format.encodings import part_specs
from edgert.format.encodings.q4 import Q4
from edgert.format.encodings.q8g import Q8G
from edgert.format.layouts import GROUPED
from edgert.format.model import StoredTensor

Bytes = np.ndarray[Any, np.dtype[Any]]

SHAPE = Architecture(
    "llama", vocabulary=32000, context_length=2048, layers=34, width=2048, heads=32, kv_heads=8, head_dim=64,
    ffn=8192, norm_epsilon=1e-5, rope=Rope(tuple((10000.0 ** (-np.arange(32) / 32)).tolist())),
)  # fmt: skip
"""Layers as those of Llama-3.2-1B, and 34 of them: 2.07 billion weights at 4.5 bits, and the vocabulary's two matrices
at 8.5."""
SPARE_BLOCKS = 1 << 14
"""By so many blocks the pool is longer than the longest tensor: the room for tensors to begin elsewhere."""
STEP = 331
"""Blocks from the beginning of one tensor to that of the next: a prime."""
Q4_0, Q8_0 = np.dtype([("d", "<f2"), ("qs", "u1", 16)]), np.dtype([("d", "<f2"), ("qs", "i1", 32)])
"""Blocks of GGUF: 32 weights of a row."""


class Pool:
    """Random blocks of one kind; take() gives a stretch that begins elsewhere each time."""

    def __init__(self, block: np.dtype[Any], longest: int, deviation: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._blocks = np.frombuffer(bytearray(rng.bytes((longest + SPARE_BLOCKS) * block.itemsize)), block)
        scale = "scale" if "scale" in (block.names or ()) else "d"
        field = self._blocks[scale]
        for start in range(0, len(field), 1 << 14):
            part = field[start : start + (1 << 14)]
            part[...] = rng.uniform(0.5 * deviation, 1.5 * deviation, part.shape)
        self._taken = 0

    def take(self, count: int) -> Bytes:
        """`count` blocks as bytes [count * bytes of a block], a view."""
        start = self._taken * STEP % SPARE_BLOCKS
        self._taken += 1
        return self._blocks[start : start + count].view(np.uint8)


def model(architecture: Architecture = SHAPE) -> Model:
    """The model for edgert: layers in q4, the vocabulary's matrices in q8g."""
    every = shapes(architecture)
    graph = build_decoder(architecture, {name: Shape(shape) for name, shape in every.items()})  # type: ignore[misc]
    tensors = {name: StoredTensor.pack_dense(name, value) for name, value in graph.constants.items()}
    deviation = 0.25 / np.sqrt(architecture.width)
    pools = {
        "q4": Pool(Q4.block, _longest(every, "q4", Q4.block), deviation / 4, 0),
        "q8g": Pool(Q8G.block, _longest(every, "q8g", Q8G.block), deviation / 64, 1),
    }
    for name, shape in every.items():
        if len(shape) == 1:
            tensors[name] = StoredTensor.pack_dense(name, np.ones(shape, np.float32))
            continue
        kind = _kind(name)
        (spec,) = part_specs(kind, "float32", shape, GROUPED)
        count = spec.nbytes // (Q4.block if kind == "q4" else Q8G.block).itemsize
        data = pools[kind].take(count).reshape(spec.shape)
        tensors[name] = StoredTensor(name, "float32", shape, kind, GROUPED, None, {spec.role: data})
    about = LanguageInfo(architecture.name, architecture.context_length, architecture.vocabulary)
    return Model(graph, tensors, ModelInfo("random weights", "text-generation", language=about))


def _kind(name: str) -> str:
    return "q4" if name.startswith("layers.") else "q8g"


def _longest(every: dict[str, tuple[int, ...]], kind: str, block: np.dtype[Any]) -> int:
    """Blocks of the longest matrix of `kind`."""
    matrices = [shape for name, shape in every.items() if len(shape) == 2 and _kind(name) == kind]
    return max(part_specs(kind, "float32", shape, GROUPED)[0].nbytes for shape in matrices) // block.itemsize


def write_edge(path: Path, architecture: Architecture = SHAPE) -> None:
    """The .edge file, and nothing of it left in the page cache."""
    write_model(model(architecture), path)
    forget(path)


def write_gguf(path: Path, architecture: Architecture = SHAPE) -> None:
    """A model of the same shape and bytes for llama.cpp: Q4_0, the vocabulary's matrices Q8_0; its tokens have no
    texts."""
    from gguf import GGMLQuantizationType, GGUFWriter

    a = architecture
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(a.context_length)
    writer.add_embedding_length(a.width)
    writer.add_block_count(a.layers)
    writer.add_feed_forward_length(a.ffn)
    writer.add_head_count(a.heads)
    writer.add_head_count_kv(a.kv_heads)
    writer.add_rope_dimension_count(a.head_dim)
    writer.add_layer_norm_rms_eps(a.norm_epsilon)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(a.vocabulary)
    writer.add_tokenizer_model("none")
    deviation = 0.25 / float(np.sqrt(a.width))
    pools = {
        "q4": (Pool(Q4_0, a.width * max(a.ffn, a.q_rows) // 32, deviation / 4, 0), Q4_0, GGMLQuantizationType.Q4_0),
        "q8g": (Pool(Q8_0, a.width * a.vocabulary // 32, deviation / 64, 1), Q8_0, GGMLQuantizationType.Q8_0),
    }

    def matrix(name: str, kind: str, rows: int, columns: int) -> None:
        pool, block, dtype = pools[kind]
        data = pool.take(rows * columns // 32).reshape(rows, columns // 32 * block.itemsize)
        writer.add_tensor(f"{name}.weight", data, raw_dtype=dtype)

    def ones(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(a.width, np.float32))

    matrix("token_embd", "q8g", a.vocabulary, a.width)
    for i in range(a.layers):
        ones(f"blk.{i}.attn_norm")
        for part, rows in (("q", a.q_rows), ("k", a.kv_rows), ("v", a.kv_rows)):
            matrix(f"blk.{i}.attn_{part}", "q4", rows, a.width)
        matrix(f"blk.{i}.attn_output", "q4", a.width, a.q_rows)
        ones(f"blk.{i}.ffn_norm")
        for part in ("gate", "up"):
            matrix(f"blk.{i}.ffn_{part}", "q4", a.ffn, a.width)
        matrix(f"blk.{i}.ffn_down", "q4", a.width, a.ffn)
    ones("output_norm")
    matrix("output", "q8g", a.vocabulary, a.width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    forget(path)


def forget(path: Path) -> None:
    """Drops what the page cache has of `path`, after it has reached the disk: or it would be nobody's RAM."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def smaller(layers: int) -> Architecture:
    """The same with fewer layers."""
    return replace(SHAPE, layers=layers)
