"""Layers whose neurons are read one by one: the same bits as with all of them in memory, by fewer bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgert.cache import cache_root
from edgert.format import Model, StoredTensor, read_model, write_model
from edgert.graph.ir import Graph, Node, TensorType
from edgert.kernels_cpu.installed import chosen
from edgert.kernels_cpu.library import KernelLibrary, load_library
from edgert.plan.plan import NativeRun, NeuronCall, Plan
from edgert.plan.planner import make_plan
from edgert.plan.residency import divide, least
from edgert.runtime.executable import Executable
from edgert.runtime.pool import WorkerPool
from edgert.stream.neurons import NeuronWindow
from edgert.stream.source import DirectSource
from edgert.stream.store import WeightStore

ROWS, WIDTH, NEURONS, LAYERS = 3, 160, 400, 4


def network() -> Model:
    """Gated feed-forward layers, each with a residual; a third of their neurons is active."""
    rng = np.random.default_rng(0)
    graph, tensors = Graph("g"), {}

    def add(tensor: StoredTensor) -> str:
        tensors[tensor.name] = tensor
        graph.types[tensor.name] = tensor.type
        return tensor.name

    graph.inputs, graph.outputs = ["x0"], [f"x{LAYERS}"]
    graph.types["x0"] = TensorType("float32", (ROWS, WIDTH))
    for i in range(LAYERS):
        gates = rng.integers(0, 16, (NEURONS, WIDTH)).astype(np.uint8)
        scale = np.full((NEURONS, WIDTH // 32), 0.02, np.float16)
        gate = add(StoredTensor.pack_q4(f"gate{i}", gates, scale))
        numbers = rng.integers(0, 16, (NEURONS, 2, WIDTH)).astype(np.uint8)
        scale = rng.uniform(0.002, 0.004, (NEURONS, 2, WIDTH // 32)).astype(np.float16)
        neurons = add(StoredTensor.pack_neurons(f"neurons{i}", numbers, scale, "neurons4"))
        graph.nodes.append(Node("Gemm", (f"x{i}", gate), (f"g{i}",), {"transB": 1}, f"gates{i}"))
        attrs: dict[str, str | float] = {"activation": "Silu", "threshold": 0.5}
        graph.nodes.append(Node("NeuronFFN", (f"x{i}", f"g{i}", neurons, f"x{i}"), (f"x{i + 1}",), attrs, f"layer{i}"))
        graph.types[f"g{i}"] = TensorType("float32", (ROWS, NEURONS))
        graph.types[f"x{i + 1}"] = TensorType("float32", (ROWS, WIDTH))
    return Model(graph, tensors)


@dataclass
class Both:
    """The same model with its weights mapped, and read."""

    plan: Plan
    mapped: Executable
    streamed: Executable
    window: NeuronWindow


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    write_model(network(), path := tmp_path / "model.edge")
    model, threads = read_model(path), request.param
    level, library = chosen(None).level, load_library(chosen(None), cache_root())

    def planned(*, stream: bool) -> Plan:
        return make_plan(model.graph, model.tensors, level=level, threads=threads, stream=stream, neurons=stream)

    plan, known = planned(stream=True), planned(stream=False)
    prepare(library, plan, known)
    parts = [part for _, part in plan.uses]
    store = WeightStore(DirectSource(path), divide(parts, least(parts)), lambda arrived, crc: None)
    (nbytes,) = {call.nbytes for call in plan.neurons}
    window = NeuronWindow(DirectSource(path), [call.part for call in plan.neurons], nbytes, NEURONS + 200)
    pool = WorkerPool(library, threads) if threads > 1 else None
    streamed = Executable(plan, library, pool, store=store, window=window)
    yield Both(plan, Executable(known, library, pool), streamed, window)
    if pool is not None:
        pool.close()
    store.close()
    window.close()


def prepare(library: KernelLibrary, *plans: Plan) -> None:
    for plan in plans:
        library.prepare(plan.program.kernels, None)


def test_the_same_bits_by_fewer_bytes(both: Both) -> None:
    plan, window = both.plan, both.window
    kinds = [type(call) for call in plan.schedule]
    assert kinds == [NativeRun, NeuronCall] * LAYERS + [NativeRun]
    assert [call.part.tensor for call in plan.neurons] == [f"neurons{i}" for i in range(LAYERS)]
    assert not any(part.tensor.startswith("neurons") for _, part in plan.uses)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((ROWS, WIDTH)).astype(np.float32)
    for turn in range(4):
        feeds = {"x0": x + np.float32(0.01) * rng.standard_normal(x.shape).astype(np.float32)}
        expected = both.mapped.run(feeds)
        found = both.streamed.run(feeds)
        np.testing.assert_array_equal(found[f"x{LAYERS}"], expected[f"x{LAYERS}"])
        if turn:
            profile = [time.node for time in both.streamed.profile(feeds)]
            assert profile == [time.node for time in both.mapped.profile(feeds)]
            np.testing.assert_array_equal(both.streamed.outputs()[f"x{LAYERS}"], expected[f"x{LAYERS}"])
    statistics = window.statistics
    runs = 4 + 3
    assert 0 < statistics.wanted < 0.9 * runs * LAYERS * NEURONS
    assert statistics.hits > 0
    assert statistics.bytes_missing == (statistics.wanted - statistics.hits) * window.nbytes


def test_no_window_is_a_mistake(both: Both) -> None:
    with pytest.raises(ValueError, match="needs a"):
        Executable(both.plan, None, None)
