"""One row by a matrix, as in decoding: kernels that skip zeros beside the same weights with their zeros filled in.

Both ways are real plans of one Gemm per copy of the weights: enough copies that weights come from memory, and one that
stays in a cache. What the plan takes by itself must not be slower than the dense way, beyond noise.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import machine, save
from edgert.cache import cache_root
from edgert.format.model import StoredTensor
from edgert.graph.ir import Graph, Node, TensorType
from edgert.kernels_cpu.levels import Level, active_level
from edgert.kernels_cpu.library import open_library
from edgert.plan.plan import Plan
from edgert.plan.planner import make_plan
from edgert.program.assembler import aligned_bytes
from edgert.runtime.executable import Executable
from edgert.runtime.pool import WorkerPool

SHAPES = ((576, 1536), (2048, 2048), (4096, 11008))
"""Outputs x inputs: of models of 0.1, 1 and 7 billion weights."""
FORMS = (
    "bitmap8 50", "bitmap8 70", "group4 50", "rowgroup4 50", "bitmap4 50", "nm4 6:8", "nm4 4:8", "bitmap16 50",
    "fanin 90",
)  # fmt: skip
STREAMED = 128 << 20
"""Bytes of all sparse copies: several times the last cache, and the dense ones are more."""
PRODUCTS = 16
"""Of a plan, at least: they share the conversion of x and the call."""
NOISE = 1.05
"""So much slower is still called equal."""
REST = 0.002
"""Seconds between ways."""
BATCH = 1e-3
"""Seconds that one measurement takes at least."""

Values = np.ndarray[Any, Any]


def weights(form: str, rows: int, columns: int, rng: np.random.Generator) -> StoredTensor:
    """Random weights whose zeros lie as the form says: 'bitmap8 70' has 70 % of them, 'nm4 6:8' keeps 6 of 8."""
    name, how = form.split()
    scale = rng.uniform(0.001, 0.02, (rows, -(-columns // 32))).astype(np.float16)
    if name == "fanin":
        kept = round(columns * (1 - int(how) / 100))
        chosen = np.argsort(rng.random((rows, columns), np.float32), axis=1)[:, :kept]
        sparse = np.zeros((rows, columns), np.int8)
        np.put_along_axis(sparse, chosen, rng.integers(1, 127, chosen.shape, np.int8), axis=1)
        return StoredTensor.pack_fanin("w", sparse, scale[:, 0].astype(np.float32))
    keep = mask(name, how, rows, columns, rng)
    if name == "bitmap16":
        return StoredTensor.pack_bitmap16("w", np.where(keep, rng.uniform(0.1, 1, keep.shape), 0).astype(np.float32))
    if name == "bitmap8":
        return StoredTensor.pack_bitmap8("w", np.where(keep, rng.integers(1, 127, keep.shape, np.int8), 0), scale)
    values = np.where(keep, rng.integers(0, 8, keep.shape, np.uint8), np.uint8(8))
    if name == "nm4":
        n, m = map(int, how.split(":"))
        return StoredTensor.pack_nm("w", values, scale, n, m)
    pack = {"bitmap4": StoredTensor.pack_bitmap4, "group4": StoredTensor.pack_group4}
    return pack.get(name, StoredTensor.pack_rowgroup4)("w", values, scale)


def mask(name: str, how: str, rows: int, columns: int, rng: np.random.Generator) -> Values:
    """Which weights are kept, bool [rows, columns]."""
    if name == "nm4":
        n, m = map(int, how.split(":"))
        order = np.argsort(rng.random((rows, columns // m, m), np.float32), axis=2)
        return (order < n).reshape(rows, columns)
    share = 1 - int(how) / 100
    if name == "group4":  # 16 of the 32 rows of each group
        order = np.argsort(rng.random((rows // 32, 32, columns // 32), np.float32), axis=1)
        return np.repeat((order < 16).reshape(rows, -1), 32, axis=1)
    if name == "rowgroup4":
        return np.repeat(rng.random((rows, columns // 32), np.float32) < share, 32, axis=1)
    return rng.random((rows, columns), np.float32) < share


def copies(stored: StoredTensor, count: int) -> dict[str, StoredTensor]:
    """The same weights at other places in memory, each on a cache line as a file's are."""
    found = {}
    for i in range(count):
        parts = {}
        for role, part in stored.parts.items():
            place = aligned_bytes(part.nbytes)
            place[...] = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
            parts[role] = place.view(part.dtype).reshape(part.shape)
        found[f"w{i}"] = replace(stored, name=f"w{i}", parts=parts)
    return found


def graph_of(shape: tuple[int, ...], count: int) -> Graph:
    """One row by `count` matrices [N, K] in turn, PRODUCTS times at least; the last product is the output, so that what
    is not the products' own costs little."""
    rows, columns = shape
    products = max(count, PRODUCTS)
    graph = Graph(inputs=["x"], outputs=[f"y{products - 1}"])
    graph.types["x"] = TensorType("float32", (1, columns))
    graph.types |= {f"w{i}": TensorType("float32", shape) for i in range(count)}
    for i in range(products):
        graph.nodes.append(Node("Gemm", ("x", f"w{i % count}"), (f"y{i}",), {"transB": 1}, f"gemm{i}"))
        graph.types[f"y{i}"] = TensorType("float32", (1, rows))
    return graph


@dataclass(frozen=True)
class Way:
    """A plan that runs, and how many products it has."""

    plan: Plan
    run: Callable[[], object]
    count: int

    @property
    def kernel(self) -> str:
        return next(step.kernel for step in self.plan.steps if step.op == "Gemm")

    def us(self, calls: int) -> float:
        """Microseconds of one product, the conversion of x shared among all."""
        start = time.perf_counter()
        for _ in range(calls):
            self.run()
        return 1e6 * (time.perf_counter() - start) / (calls * self.count)


def way(tensors: dict[str, StoredTensor], sparse: str, level: Level, threads: int) -> Way:
    shape = next(iter(tensors.values())).shape
    plan = make_plan(graph_of(shape, len(tensors)), tensors, level=level, threads=threads, sparse=sparse)
    library = open_library(level, cache_root())
    library.prepare(plan.program.kernels)
    executable = Executable(plan, library, WorkerPool(library, threads) if plan.threads > 1 else None)
    x = np.random.default_rng(1).standard_normal((1, shape[1])).astype(np.float32)
    return Way(plan, lambda: executable.run({"x": x}), max(len(tensors), PRODUCTS))


def alternate(ways: Sequence[Way], rounds: int) -> list[dict[str, float]]:
    """Best and median microseconds of each, round after round one after the other."""
    calls = [max(1, round(BATCH / (1e-6 * w.us(2) * w.count))) for w in ways]
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for w, n, found in zip(ways, calls, times, strict=True):
            time.sleep(REST)
            w.run()
            found.append(w.us(n))
    return [{"min": round(min(t), 2), "median": round(statistics.median(t), 2)} for t in times]


def compare(form: str, stored: StoredTensor, count: int, threads: int, rounds: int) -> dict[str, Any]:
    """The sparse and the dense way, and which of them a plan takes by itself."""
    level = active_level()
    tensors = copies(stored, count)
    # the dense twin is expanded once: each sparse copy would expand its own
    dense_tensors = copies(stored.expanded(), count)
    ways = [way(tensors, "always", level, threads), way(dense_tensors, "never", level, threads)]
    chosen = make_plan(graph_of(stored.shape, count), tensors, level=level, threads=threads, sparse="auto")
    auto = "sparse" if any(step.sparse for step in chosen.steps) else "dense"
    skipping, dense = alternate(ways, rounds)
    gain = dense["median"] / skipping["median"]
    lost = auto == "sparse" and gain * NOISE < 1
    predicted = [next(s.predicted_us for s in w.plan.steps if s.op == "Gemm") for w in ways]
    return {
        "sparse": skipping, "dense": dense, "gain": round(gain, 3), "best": round(dense["min"] / skipping["min"], 3),
        "auto": auto, "ok": not lost, "kernels": [w.kernel for w in ways], "copies": count, "nbytes": stored.nbytes,
        "dense_nbytes": stored.expanded().nbytes, "predicted_us": [round(p, 2) for p in predicted],
    }  # fmt: skip


def line(form: str, found: dict[str, Any]) -> str:
    sparse, dense = found["sparse"], found["dense"]
    verdict = "" if found["ok"] else "  FAIL: the plan's choice is slower than the dense way"
    smaller = found["dense_nbytes"] / found["nbytes"]
    return (
        f"  {form:13} sparse {sparse['median']:8.1f} us  dense {dense['median']:8.1f} us  x{found['gain']:.2f} "
        f"(best x{found['best']:.2f}, bytes x{smaller:.2f}), auto: {found['auto']}{verdict}"
    )


def run(threads: Sequence[int], rounds: int, out: Path) -> None:
    """Prints the tables and writes the record to `out`."""
    record: dict[str, Any] = {"what": "one row by a matrix, random masks", "machine": machine(), "results": {}}
    for rows, columns in SHAPES:
        made = {form: weights(form, rows, columns, np.random.default_rng(3)) for form in FORMS}
        for count in threads:
            for where in ("memory", "cache"):
                title = f"{rows} x {columns} from {where}, {count} thread(s)"
                print(title, flush=True)
                results = {}
                for form, stored in made.items():
                    many = max(2, -(-STREAMED // stored.nbytes)) if where == "memory" else 1
                    results[form] = compare(form, stored, many, count, rounds)
                    print(line(form, results[form]), flush=True)
                record["results"][title] = results
    save(out, record)
