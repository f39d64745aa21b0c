"""Runs over weights that come from a store: stages are there when ops need them, tables give the rows they have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgert.cache import cache_root
from edgert.format import Model, StoredTensor, read_model, write_model
from edgert.format.parts import FilePart
from edgert.graph.ir import Graph, Node, TensorType
from edgert.kernels_cpu.installed import chosen
from edgert.kernels_cpu.library import load_library
from edgert.plan.plan import HostCall, LookupCall, NativeRun, Plan
from edgert.plan.planner import make_plan
from edgert.plan.residency import divide, least
from edgert.runtime.executable import Executable
from edgert.runtime.gates import Gates
from edgert.runtime.pool import WorkerPool
from edgert.stream.stages import Division

ROWS, WIDTH, TABLE = 5, 512, 4000
KB = 1 << 10


def network(kind: str, layers: int = 6) -> Model:
    """Rows of a table, some products, and in the middle an operator that NumPy computes."""
    rng = np.random.default_rng(0)
    graph, tensors = Graph("g"), {}

    def add(tensor: StoredTensor) -> str:
        tensors[tensor.name] = tensor
        graph.types[tensor.name] = tensor.type
        return tensor.name

    values = rng.normal(size=(TABLE, WIDTH)).astype(np.float32)
    if kind == "q8g":
        scale = np.full((TABLE, WIDTH // 32), 0.01, np.float16)
        table = StoredTensor.pack_q8g("table", rng.integers(-127, 128, values.shape).astype(np.int8), scale)
    elif kind == "dense":
        table = StoredTensor.pack_dense("table", values, "n16k1")
    else:
        table = StoredTensor.pack_f16("table", values, "n16k1" if kind == "f16" else "row")
    graph.inputs, graph.outputs = ["tokens"], ["y"]
    graph.types["tokens"] = TensorType("int64", (ROWS,))
    graph.nodes.append(Node("Gather", (add(table), "tokens"), ("x0",), {"axis": 0}, "lookup"))
    for i in range(layers):
        numbers = rng.integers(0, 16, (WIDTH, WIDTH)).astype(np.uint8)
        scale = np.full((WIDTH, WIDTH // 32), 0.01, np.float16)
        weight = add(StoredTensor.pack_q4(f"w{i}", numbers, scale))
        graph.nodes.append(Node("Gemm", (f"x{i}", weight), (f"p{i}",), {"transB": 1}, f"product{i}"))
        op = "Sin" if i == layers // 2 else "Tanh"
        target = "y" if i == layers - 1 else f"x{i + 1}"
        graph.nodes.append(Node(op, (f"p{i}",), (target,), {}, f"bend{i}"))
    for node in graph.nodes:
        graph.types[node.outputs[0]] = TensorType("float32", (ROWS, WIDTH))
    return Model(graph, tensors)


class Store:
    """What an executable asks of a store, all of the file in memory; says when anything is out of order."""

    def __init__(self, division: Division, path: Path) -> None:
        self.division = division
        self._bytes = np.frombuffer(path.read_bytes(), np.uint8)
        self._held = np.zeros(len(self._bytes) + 64, np.uint8)
        self._base = -self._held.ctypes.data % 64
        stays = {placed.part for placed in division.home.parts}
        for part in stays:
            self._copy(part)
        self.order: tuple[int, ...] = ()
        self.events: list[tuple[str, int]] = []

    def _copy(self, part: FilePart) -> None:
        start = self._base + part.offset
        self._held[start : start + part.nbytes] = self._bytes[part.offset : part.offset + part.nbytes]

    def address(self, part: FilePart) -> int:
        return int(self._held.ctypes.data) + self._base + part.offset

    def begin(self, stages: tuple[int, ...]) -> None:
        self.order, self._next, self._open = tuple(stages), 0, []
        self.events.clear()

    def acquire(self, stage: int) -> None:
        assert stage == self.order[self._next] and stage not in self._open
        self._next += 1
        self._open.append(stage)
        for placed in self.division.stages[stage].parts:
            self._copy(placed.part)
        self.events.append(("acquire", stage))

    def release(self, stage: int) -> None:
        self._open.remove(stage)
        for placed in self.division.stages[stage].parts:
            start = self._base + placed.part.offset
            self._held[start : start + placed.part.nbytes] = 0
        self.events.append(("release", stage))

    def finished(self) -> bool:
        return self._next == len(self.order) and not self._open


def planned(model: Model, threads: int, *, stream: bool) -> Plan:
    return make_plan(model.graph, model.tensors, level=chosen(None).level, threads=threads, stream=stream)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["q8g", "f16", "f16 row", "dense"])
def test_streamed_runs_give_the_same_bits(kind: str, threads: int, tmp_path: Path) -> None:
    write_model(network(kind), path := tmp_path / "model.edge")
    model = read_model(path)
    library = load_library(chosen(None), cache_root())
    plans = {stream: planned(model, threads, stream=stream) for stream in (False, True)}
    assert {type(call) for call in plans[True].schedule} == {NativeRun, HostCall, LookupCall}
    for plan in plans.values():
        library.prepare(plan.program.kernels, None)
    pool = WorkerPool(library, 2) if threads > 1 else None
    parts = [part for _, part in plans[True].uses]
    store = Store(divide(parts, least(parts) + 200 * KB), path)
    assert store.division.stages and store.division.resident
    streamed = Executable(plans[True], library, pool, store=store)  # type: ignore[arg-type]
    mapped = Executable(plans[False], library, pool)
    for ids in ([0, 1, 2, 3, 4], [TABLE - 1, 16, 17, 16, 0], [-1, -TABLE, 5, TABLE + 7, -TABLE - 9]):
        feeds = {"tokens": np.array(ids, np.int64)}
        expected = mapped.run(feeds)["y"]
        assert np.array_equal(streamed.run(feeds)["y"], expected) and store.finished()
        names = [time.node for time in streamed.profile(feeds)]
        assert names == [time.node for time in mapped.profile(feeds)] and store.finished()
        assert np.array_equal(streamed.outputs()["y"], expected)
    assert [stage for event, stage in store.events if event == "acquire"] == list(store.order)
    if pool is not None:
        pool.close()


def test_a_run_is_cut_where_stages_begin_and_end(tmp_path: Path) -> None:
    write_model(network("q8g"), path := tmp_path / "model.edge")
    plan = planned(read_model(path), 1, stream=True)
    parts = [part for _, part in plan.uses]
    store = Store(divide(parts, least(parts)), path)
    gates = Gates(plan, store)  # type: ignore[arg-type]
    needs = {placed.part: stage.index for stage in store.division.stages for placed in stage.parts}
    wanted: dict[int, list[int]] = {}
    for op, part in plan.uses:
        wanted.setdefault(op, []).append(needs[part])
    there: set[int] = set()
    done = 0
    for call in plan.schedule:
        if isinstance(call, NativeRun):
            for stages, first, count, free in gates.cuts(call.first, call.count):
                assert first == done and count > 0
                there |= set(stages)
                assert all(stage in there for op in range(first, first + count) for stage in wanted.get(op, []))
                there -= set(free)
                done += count
    assert done == len(plan.program.ops) and not there
    assert gates.order == tuple(range(len(store.division.stages)))


def test_nothing_is_streamed_without_a_store(tmp_path: Path) -> None:
    write_model(network("q8g"), path := tmp_path / "model.edge")
    plan = planned(read_model(path), 1, stream=True)
    with pytest.raises(ValueError, match="store"):
        Executable(plan, None, None)
