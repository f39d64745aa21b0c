"""A llama-shaped model of 1.1 billion weights whose masks are as trained ones are: decoding by dense and sparse int4.

Weights are random, so only time and bytes mean something; what pruning costs in quality is bench/pruning.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.language import Model as File
from bench.language import speed
from bench.measure import machine, save
from edgert.converters.llm.architecture import Architecture
from edgert.converters.llm.decoder import build_decoder
from edgert.converters.llm.rope import Rope
from edgert.format import LanguageInfo, Model, ModelInfo, write_model
from edgert.format.model import StoredTensor

SHAPE = Architecture(
    "llama", vocabulary=32000, context_length=2048, layers=22, width=2048, heads=32, kv_heads=4, head_dim=64,
    ffn=5632, norm_epsilon=1e-5, rope=Rope(tuple((10000.0 ** (-np.arange(32) / 32)).tolist())),
)  # fmt: skip
"""That of TinyLlama-1.1B."""
DENSE = "q4"
FORMS = (DENSE, "group4", "rowgroup4", "bitmap4", "nm4 4:8")
"""Of the layers, each but the first with half of the weights zero. The vocabulary's matrices are q8g in all."""


@dataclass(frozen=True)
class Shape:
    """A weight of which only the shape is known: what the graph is built from."""

    shape: tuple[int, ...]
    source: str = "made"


def shapes(model: Architecture) -> dict[str, tuple[int, ...]]:
    """Every weight of the decoder by name."""
    found: dict[str, tuple[int, ...]] = {
        "embedding": (model.vocabulary, model.width), "output": (model.vocabulary, model.width),
        "output_norm": (model.width,),
    }  # fmt: skip
    for i in range(model.layers):
        prefix = f"layers.{i}"
        found |= {f"{prefix}.{name}": (model.width,) for name in ("attention_norm", "ffn_norm")}
        found[f"{prefix}.qkv"] = (model.q_rows + 2 * model.kv_rows, model.width)
        found[f"{prefix}.o"] = (model.width, model.q_rows)
        found[f"{prefix}.gate_up"] = (2 * model.ffn, model.width)
        found[f"{prefix}.down"] = (model.width, model.ffn)
    return found


def keep(form: str, rows: int, columns: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """A random mask [rows, columns] of half of the weights, in the pattern of `form`."""
    groups = columns // 32
    if form == "group4":  # 16 of every 32 rows, for each group of columns
        order = rng.random((rows // 32, 32, groups)).argsort(axis=1)
        return np.repeat((order < 16).reshape(rows, groups), 32, axis=1)
    if form == "rowgroup4":
        return np.repeat(rng.random((rows, groups)) < 0.5, 32, axis=1)
    if form.startswith("nm4"):
        order = rng.random((rows, columns // 8, 8)).argsort(axis=2)
        return np.asarray((order < 4).reshape(rows, columns))
    return rng.random((rows, columns)) < 0.5


def matrix(name: str, form: str, shape: tuple[int, ...], rng: np.random.Generator) -> StoredTensor:
    """Random weights of about 1 / sqrt(columns) in `form`."""
    rows, columns = shape
    scale = (rng.uniform(0.5, 1.5, (rows, columns // 32)) / np.sqrt(columns) / 4).astype(np.float16)
    if not name.startswith("layers."):
        numbers = rng.integers(-127, 128, shape, np.int8)
        return StoredTensor.pack_q8g(name, numbers, (scale / 16).astype(np.float16))
    values = rng.integers(0, 16, shape, np.uint8)
    if form == DENSE:
        return StoredTensor.pack_q4(name, values, scale)
    values[~keep(form, rows, columns, rng)] = 8
    if form == "group4":
        return StoredTensor.pack_group4(name, values, scale)
    if form == "rowgroup4":
        return StoredTensor.pack_rowgroup4(name, values, scale)
    if form == "bitmap4":
        return StoredTensor.pack_bitmap4(name, values, scale)
    return StoredTensor.pack_nm(name, values, scale, 4, 8)


def build(form: str, architecture: Architecture = SHAPE) -> Model:
    """The whole model, its layers in `form`. All layers have equal weights, each its own in the file."""
    rng = np.random.default_rng(0)
    made: dict[str, StoredTensor] = {}
    every = shapes(architecture)
    graph = build_decoder(architecture, {name: Shape(shape) for name, shape in every.items()})  # type: ignore[misc]
    tensors = {name: StoredTensor.pack_dense(name, value) for name, value in graph.constants.items()}
    for name, shape in every.items():
        if len(shape) == 2:
            kind = name.rpartition(".")[2]
            if kind not in made:
                made[kind] = matrix(name, form, shape, rng)
            tensors[name] = replace(made[kind], name=name)
        else:
            tensors[name] = StoredTensor.pack_dense(name, np.ones(shape, np.float32))
    about = LanguageInfo(architecture.name, architecture.context_length, architecture.vocabulary)
    return Model(graph, tensors, ModelInfo("random weights", "text-generation", language=about))


def run(thread_counts: Sequence[int], rounds: int, out: Path) -> None:
    """Prints tokens per second and bytes of every form, and writes the raw numbers to `out`."""
    record: dict[str, Any] = {"machine": machine(), "shape": "TinyLlama-1.1B, random weights", "threads": {}}
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, File] = {}
        for form in FORMS:
            path = Path(folder) / f"{form.replace(' ', '-').replace(':', '-')}.edge"
            write_model(build(form), path)
            files[f"edgert {form}"] = ("edgert", path)
        record["bytes"] = {name: model[1].stat().st_size for name, model in files.items()}
        for threads in thread_counts:
            memory: dict[str, int] = {}
            rates = speed(files, threads, rounds, memory)
            record["threads"][str(threads)] = {"rates": rates, "memory": memory}
            base = rates[f"edgert {DENSE}"]
            print(f"{threads} thread(s)")
            for name, found in rates.items():
                words = [f"{k} {v['median']:8.1f} ({v['median'] / base[k]['median']:.2f}x)" for k, v in found.items()]
                print(f"  {name:18} {'  '.join(words)}  {record['bytes'][name] / 1e6:7.1f} MB, "
                      f"in RAM {memory[name] / 1e6:7.1f} MB", flush=True)  # fmt: skip
    save(out, record)
