"""What compression saves on the way from storage: models of one shape, dense and without half of the weights, streamed.

Endor (Lee and others 2024, "Endor: hardware-friendly sparse format for offloaded LLM inference") moves half-empty
float16 weights 1.7 times as fast as dense ones.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from bench.measure import machine, save
from bench.sparse_language import Shape, shapes
from bench.sparse_language import keep as pattern
from bench.stream.compare import CONTEXT, folder_of, roof, survey
from bench.stream.generate import SHAPE, forget
from bench.stream.runtimes import Ended, Runtime
from edgert.converters.llm.decoder import build_decoder
from edgert.format import LanguageInfo, Model, ModelInfo, write_model
from edgert.format.model import StoredTensor
from edgert.kernels_cpu.installed import chosen
from edgert.plan.budget import show_bytes

PAIRS = {"f16": ("bitmap16", 4), "q8g": ("bitmap8", 6), "q4": ("group4", 12)}
"""Dense encoding -> the one without zeros, and how many layers make a model of about 400 MB."""
VOCABULARY = 4096
"""Small: its matrices are the same in both."""
BUDGET = 25
"""Percent of the dense file that may be RAM, for both."""
SECONDS, MOST = 5.0, 256


def matrix(name: str, form: str, shape: tuple[int, int], rng: np.random.Generator) -> StoredTensor:
    """Random weights of about 1 / sqrt(columns) in `form`; half of them zero where it leaves zeros out."""
    rows, columns = shape
    kept = pattern("group4" if form == "group4" else "", rows, columns, rng) if form not in PAIRS else None
    if form in ("f16", "bitmap16"):
        halves = (rng.standard_normal(shape, np.float32) / np.sqrt(columns)).astype(np.float16)
        if kept is None:
            return StoredTensor.pack_f16(name, halves, "n16k1")
        return StoredTensor.pack_bitmap16(name, np.where(kept, halves, np.float16(0)))
    scale = (rng.uniform(0.5, 1.5, (rows, columns // 32)) / np.sqrt(columns) / 4).astype(np.float16)
    if form in ("q8g", "bitmap8"):
        numbers, small = rng.integers(1, 128, shape, np.int8), (scale / 16).astype(np.float16)
        if kept is None:
            return StoredTensor.pack_q8g(name, numbers, small)
        return StoredTensor.pack_bitmap8(name, np.where(kept, numbers, np.int8(0)), small)
    values = rng.integers(0, 16, shape, np.uint8)
    if kept is None:
        return StoredTensor.pack_q4(name, values, scale)
    return StoredTensor.pack_group4(name, np.where(kept, values, np.uint8(8)), scale)


def model(form: str, layers: int) -> Model:
    """Its layers in `form`, the vocabulary's matrices in q8g. Layers have equal weights, each its own in the file."""
    architecture = replace(SHAPE, layers=layers, vocabulary=VOCABULARY)
    rng, every = np.random.default_rng(0), shapes(architecture)
    made: dict[str, StoredTensor] = {}
    graph = build_decoder(architecture, {name: Shape(shape) for name, shape in every.items()})  # type: ignore[misc]
    tensors = {name: StoredTensor.pack_dense(name, value) for name, value in graph.constants.items()}
    for name, shape in every.items():
        if len(shape) == 1:
            tensors[name] = StoredTensor.pack_dense(name, np.ones(shape, np.float32))
            continue
        kind = name.rpartition(".")[2]
        if kind not in made:
            made[kind] = matrix(name, form if name.startswith("layers.") else "q8g", (shape[0], shape[1]), rng)
        tensors[name] = replace(made[kind], name=name)
    about = LanguageInfo(architecture.name, architecture.context_length, architecture.vocabulary)
    return Model(graph, tensors, ModelInfo("random weights", "text-generation", language=about))


def compare(dense: str, folder: Path, threads: int, rounds: int, seconds: float) -> dict[str, Any]:
    """A dense encoding and its sparse one, taking turns within the same RAM."""
    sparse, layers = PAIRS[dense]
    files = {form: folder / f"{form}.edge" for form in (dense, sparse)}
    for form, path in files.items():
        if not path.exists():
            write_model(model(form, layers), path)
        forget(path)
    ram = files[dense].stat().st_size * BUDGET // 100
    found: dict[str, Any] = {"ram": ram, "roofs": [], "forms": {}}
    reads, found["survey"] = survey(files[dense])
    with ExitStack() as stack:
        running: dict[str, Runtime] = {}
        for form, path in files.items():
            running[form] = stack.enter_context(Runtime("streamed", path, threads, CONTEXT, ram, None))
            found["forms"][form] = {
                "bytes": path.stat().st_size, "decode": [], "facts": running[form].facts,
                "version": running[form].version,
            }  # fmt: skip
            running[form].ask(do="decode", seconds=0, least=2, most=2)
        for _ in range(rounds):
            found["roofs"].append(roof(files[dense], reads))
            for form, runtime in running.items():
                turn = runtime.ask(do="decode", seconds=seconds, least=1, most=MOST)
                found["forms"][form]["decode"].append(turn)
    for entry in found["forms"].values():
        entry["tokens_per_second"] = statistics.median(turn["tokens"] / turn["seconds"] for turn in entry["decode"])
        entry["bytes_per_token"] = statistics.median(turn["read"] / turn["tokens"] for turn in entry["decode"])
    one, other = found["forms"][dense], found["forms"][sparse]
    found["file_ratio"] = one["bytes"] / other["bytes"]
    found["read_ratio"] = one["bytes_per_token"] / max(other["bytes_per_token"], 1)
    found["speed_ratio"] = other["tokens_per_second"] / one["tokens_per_second"]
    return found


def run(
    thread_counts: Sequence[int], rounds: int, out: Path, folder: str | None = None, seconds: float = SECONDS
) -> None:
    """Measures every pair, prints, and writes the raw numbers to `out`."""
    record: dict[str, Any] = {"machine": machine(), "budget_percent": BUDGET, "threads": {}}
    with folder_of(folder) as place:
        for threads in thread_counts:
            results: dict[str, Any] = {}
            record["threads"][str(threads)] = results
            for dense, (sparse, _) in PAIRS.items():
                try:
                    found = compare(dense, place, threads, rounds, seconds)
                except Ended as error:
                    results[dense] = {"ended": str(error)}
                    print(f"{dense} / {sparse}: {error}", flush=True)
                    continue
                results[dense] = found
                print(f"{threads} thread(s), {show_bytes(found['ram'])} of RAM, {dense} / {sparse}:")
                print("\n".join(lines(found)), flush=True)
                save(out, record)


def lines(found: dict[str, Any]) -> list[str]:
    """The results of a pair, for people."""
    result = [
        f"  {form:9} {entry['tokens_per_second']:7.2f} tokens/s, {entry['bytes_per_token'] / 1e6:7.1f} MB a token, "
        f"file {show_bytes(entry['bytes'])}"
        for form, entry in found["forms"].items()
    ]
    result.append(
        f"  {found['speed_ratio']:.2f} times as fast, {found['read_ratio']:.2f} times fewer bytes read, "
        f"{found['file_ratio']:.2f} times fewer in the file"
    )
    return result


@click.command()
@click.option("--threads", default="2", help="Thread counts, with commas.")
@click.option("--rounds", default=3, help="Turns of each model.")
@click.option("--seconds", default=SECONDS, help="Of a turn, at least.")
@click.option("--folder", help="Keeps the models there; default: a temporary one.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: in bench/results/.")
def main(threads: str, rounds: int, seconds: float, folder: str | None, out: Path | None) -> None:
    """Measure with chosen turns."""
    out = out or Path(f"bench/results/streaming-transport-{chosen().level.name}.json")
    run([int(word) for word in threads.split(",")], rounds, out, folder, seconds)


if __name__ == "__main__":
    main()
