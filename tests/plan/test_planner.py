"""Plans: what runs where and why, exact memory, and that they explain themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from networks import Network, float_model, int8_model

from edgert.errors import MemoryBudgetError
from edgert.format import Model
from edgert.graph.infer import infer_types
from edgert.kernels_cpu.levels import LEVELS
from edgert.plan import explain, planner
from edgert.plan.cost import DEFAULT_PEAKS, Peaks, load_peaks, peaks_path, store_peaks
from edgert.plan.plan import HostCall, Plan, Slot
from edgert.plan.planner import make_plan
from edgert.program import assemble
from edgert.runtime.inputs import free_dims


def plan_of(model: Model, *, level: str = "x86-64-v3", threads: int = 1, ram: int | None = None, **sizes: int) -> Plan:
    if not sizes and free_dims(model.graph):
        sizes = {"N": 1}
    graph = infer_types(model.graph, sizes)
    return make_plan(graph, model.tensors, level=LEVELS[level], threads=threads, ram=ram, peaks=DEFAULT_PEAKS[level])


@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("model", [float_model(), int8_model()], ids=["float", "int8"])
def test_every_level_plans(level: str, model: Model) -> None:
    plan = plan_of(model, level=level)
    assert plan.count("native") >= 3
    assert all(step.reason for step in plan.steps)
    assert all(step.kernel.endswith(LEVELS[level].symbol) for step in plan.steps if step.kind == "native")


def test_convolutions_stay_in_planes() -> None:
    plan = plan_of(int8_model())
    layouts = [(s.in_layouts, s.out_layouts) for s in plan.steps if s.op == "QLinearConv"]
    assert layouts == [(("k4p",), ("k4p",))] * 3
    assert not any(s.op == "k4p -> row" for s in plan.steps)


def test_what_has_no_kernel_runs_on_the_host_and_says_so() -> None:
    net = Network()
    x = net.input("x", (2, 3))
    plan = plan_of(net.model(net.node("Hardmax", x, axis=1)))
    (step,) = [s for s in plan.steps if s.kind == "host"]
    assert step.kernel == "host:Hardmax"
    assert step.reason
    assert plan.memory.host > 0
    assert isinstance(plan.schedule[-1], HostCall)


def test_refusals_and_slower_offers_are_kept() -> None:
    plan = plan_of(float_model())
    conv = next(s for s in plan.steps if s.op == "Conv")
    assert any("depthwise_f32_kp" in why for why in conv.rejected)


def test_renames_share_memory_even_while_the_input_lives() -> None:
    net = Network()
    x = net.input("x", (4, 6))
    a = net.node("Abs", x)
    shape = net.constant("shape", np.array([24], np.int64))
    flat = net.node("Reshape", a, shape)
    plan = plan_of(net.model(flat, a))
    outputs = [plan.outputs[name] for name in (flat, a)]
    assert all(isinstance(slot, Slot) for slot in outputs)
    assert outputs[0].offset == outputs[1].offset  # type: ignore[union-attr]
    assert [s.kind for s in plan.steps if s.op == "Reshape"] == ["free"]


def test_constant_and_passed_through_outputs() -> None:
    net = Network()
    x = net.input("x", (2,))
    c = net.constant("c", np.arange(3, dtype=np.float32))
    plan = plan_of(net.model(x, c))
    assert isinstance(plan.outputs[x], Slot)
    assert np.array_equal(plan.outputs[c], [0, 1, 2])  # type: ignore[arg-type]
    assert plan.schedule == ()


def test_memory_is_exact_and_counts_everything() -> None:
    plan = plan_of(float_model(), threads=1)
    memory = plan.memory
    assert memory.arena == plan.program.segments[0].nbytes >= plan.arena_bound
    assert memory.scratch == plan.program.scratch
    assert memory.weights >= sum(array.nbytes for array in plan.weights)
    assert memory.records == assemble(plan.program).nbytes
    assert memory.total == sum(vars(memory).values())


def test_the_budget_is_kept_before_anything_is_allocated() -> None:
    model = float_model()
    need = plan_of(model).memory.total
    assert plan_of(model, ram=need).memory.total == need
    with pytest.raises(MemoryBudgetError, match=f"ram={need}"):
        plan_of(model, ram=need - 1)


def test_one_thread_is_advised_when_only_scratch_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "ONE_THREAD_US", 0.0)
    model = float_model()
    single, many = plan_of(model), plan_of(model, threads=64)
    assert many.memory.total > single.memory.total
    with pytest.raises(MemoryBudgetError, match="one thread"):
        plan_of(model, threads=64, ram=single.memory.total)


def test_short_programs_get_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan_of(float_model(), threads=4).threads == 1
    monkeypatch.setattr(planner, "ONE_THREAD_US", 0.0)
    assert plan_of(float_model(), threads=4).threads == 4


def test_bigger_shapes_take_more() -> None:
    model = float_model()
    one, many = plan_of(model, N=1), plan_of(model, N=8)
    assert many.memory.arena > 4 * one.memory.arena
    assert many.predicted_us > one.predicted_us


def test_the_plan_explains_itself() -> None:
    plan = plan_of(float_model())
    text = explain.table(plan, "JIT")
    first, *rest = text.splitlines()
    for word in ("1 thread", "x86-64-v3", "kernels JIT", "layers native", "RAM"):
        assert word in first
    for step in plan.steps:
        assert any(step.kernel[:20] in line for line in rest)
    assert "uncalibrated" in text
    record = json.loads(json.dumps(explain.as_json(plan, "JIT")))
    assert len(record["steps"]) == len(plan.steps)
    assert record["memory"]["total"] == plan.memory.total


def test_lines_are_cut_to_the_width() -> None:
    lines = explain.table(plan_of(float_model()), width=80).splitlines()
    assert max(len(line) for line in lines[3:]) == 80


def test_peaks_are_kept_per_machine(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERT_CACHE", str(tmp_path))
    from edgert.kernels_cpu.levels import host_levels

    level = host_levels()[0]
    assert load_peaks(level) == DEFAULT_PEAKS[level.name]
    store_peaks(level, Peaks(1e9, 2e9, 3e9, 4e9, "measured"))
    assert load_peaks(level) == Peaks(1e9, 2e9, 3e9, 4e9, "measured")
    for damaged in ("", "{}", '{"dot8": 0, "fma32": 1, "bytes": 1}', '{"dot8": "x", "fma32": 1, "bytes": 1}', "[]"):
        peaks_path(level).write_text(damaged)
        assert load_peaks(level) == DEFAULT_PEAKS[level.name]
