"""Plans on a device, on both sides in turn, and on the processor alone give the same answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from networks import Network, expected, float_model, int8_model

from edgert.cache import cache_root
from edgert.errors import DeviceError
from edgert.format import Model
from edgert.graph.infer import infer_types
from edgert.kernels_cpu.levels import host_levels
from edgert.kernels_cpu.library import open_library
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.memory import Weights
from edgert.kernels_gpu.programs import Programs
from edgert.kernels_gpu.table import twins
from edgert.kernels_gpu.tune import Tuner
from edgert.plan.devices import Choose, place, wherever_possible
from edgert.plan.emitter import ARENA
from edgert.plan.planner import make_plan
from edgert.program import Op
from edgert.runtime.gpu_executable import GpuExecutable, native_kernels
from edgert.runtime.inputs import free_dims
from edgert.runtime.pool import WorkerPool

LEVEL = [level for level in host_levels() if "amx" not in level.features][-1]


def mixed_model() -> Model:
    """x [6, 50] -> y: sums and products with a node in NumPy between them, and a residual around it."""
    net = Network(3)
    x = net.input("x", (6, 50))
    a = net.node("Add", x, net.constant("ca", net.rng.standard_normal((6, 50)).astype(np.float32)))
    b = net.node("Mul", a, net.constant("cb", net.rng.standard_normal(50).astype(np.float32)))
    c = net.node("Hardmax", b)
    d = net.node("Sub", a, c)
    e = net.node("Max", d, net.constant("ce", net.rng.standard_normal((6, 1)).astype(np.float32)))
    return net.model(net.node("Add", e, b, out="y"), a)


def made(
    model: Model, programs: Programs, choose: Callable[[Choose], Choose], threads: int = 1, **capabilities: object
) -> GpuExecutable:
    """An executable of `model`; `choose` gets what can run on the device and may take it away again."""
    context = Context.__new__(Context)
    can = replace(programs.context.device.capabilities, **capabilities)
    context.__dict__ |= {**programs.context.__dict__, "device": replace(programs.context.device, capabilities=can)}
    programs = Programs(context, programs.folder)
    graph = infer_types(model.graph, dict.fromkeys(free_dims(model.graph), 2))
    plan = make_plan(graph, model.tensors, level=LEVEL, threads=threads)
    placement = place(plan, choose(wherever_possible(can, LEVEL.act_signed)))
    library = open_library(LEVEL, cache_root())
    library.prepare(native_kernels(placement))
    pool = WorkerPool(library, threads) if threads > 1 else None
    return GpuExecutable(placement, library, pool, programs, Weights(context), Tuner(context, programs.folder))


def everything(found: Choose) -> Choose:
    return found


def every_second(found: Choose) -> Choose:
    return lambda index, op: found(index, op) or ("every second one" if index % 2 else "")


def nothing(found: Choose) -> Choose:
    return lambda index, op: "none"


@pytest.mark.parametrize("unified", [True, False])
@pytest.mark.parametrize("choose", [everything, every_second, nothing])
@pytest.mark.parametrize("make", [mixed_model, float_model, int8_model])
def test_answers_are_right(
    make: Callable[[], Model], choose: Callable[[Choose], Choose], unified: bool, programs: Programs,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    model = make()
    executable = made(model, programs, choose, unified=unified)
    for _ in range(3):
        feeds = {
            name: rng.standard_normal(slot.type.static_shape).astype(slot.type.dtype)
            for name, slot in executable.plan.inputs.items()
        }
        found = executable.run(feeds)
        for name, right in expected(model, feeds).items():
            np.testing.assert_allclose(found[name], right, rtol=1e-5, atol=1e-5)
        for value in found.values():
            value[...] = 0  # answers are arrays of their own


@pytest.mark.parametrize("unified", [True, False])
def test_profile(unified: bool, programs: Programs, rng: np.random.Generator) -> None:
    model = mixed_model()
    executable = made(model, programs, every_second, unified=unified)
    feeds = {"x": rng.standard_normal((6, 50)).astype(np.float32)}
    before = executable.run(feeds)
    for _ in range(2):
        times = executable.profile(feeds)
        assert [t.op for t in times] == [s.op for s in executable.plan.steps if s.ops or s.kind == "host"]
        assert all(t.us >= 0 for t in times)
        assert {t.kernel.rpartition("_")[2] for t in times} >= {"opencl"}
        for name, value in executable.outputs().items():
            np.testing.assert_array_equal(value, before[name])
    np.testing.assert_array_equal(executable.run(feeds)["y"], before["y"])


def test_threads_of_the_processor_work_beside_it(programs: Programs, rng: np.random.Generator) -> None:
    model = mixed_model()
    executable = made(model, programs, every_second, threads=2)
    feeds = {"x": rng.standard_normal((6, 50)).astype(np.float32)}
    for _ in range(20):
        np.testing.assert_allclose(executable.run(feeds)["y"], expected(model, feeds)["y"], rtol=1e-5, atol=1e-5)


def test_weights_of_several_plans_are_placed_once(programs: Programs) -> None:
    executable = made(mixed_model(), programs, everything)
    weights = Weights(programs.context)
    for _ in range(2):
        GpuExecutable(executable.placement, None, None, programs, weights, Tuner(programs.context, programs.folder))
    assert len(weights._places) <= len(executable.plan.weights) + 2


def test_after_a_fork_it_is_an_error(programs: Programs, rng: np.random.Generator) -> None:
    executable = made(mixed_model(), programs, nothing)
    executable.context._process = -1
    with pytest.raises(DeviceError, match="in use by the process that this one was forked from"):
        executable.run({"x": rng.standard_normal((6, 50)).astype(np.float32)})


def test_an_error_of_a_run_leaves_the_next_one_whole(
    programs: Programs, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mixed_model()
    executable = made(model, programs, everything)
    feeds = {"x": rng.standard_normal((6, 50)).astype(np.float32)}

    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("edgert.runtime.executable.evaluate", fail)
        with pytest.raises(KeyboardInterrupt):
            executable.run(feeds)
    np.testing.assert_allclose(executable.run(feeds)["y"], expected(model, feeds)["y"], rtol=1e-5, atol=1e-5)
    assert isinstance(executable.plan.program.ops[0], Op)


def test_tiles_are_tried_where_nothing_is_spoiled(
    programs: Programs, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a register of rows, a state and the arena: all of them are others while tiles are measured."""
    table = {name: replace(twin, tiles=({"SIZE": 1}, {"SIZE": 2})) for name, twin in twins().items()}
    monkeypatch.setattr("edgert.runtime.gpu_executable.twins", lambda: table)
    model = mixed_model()
    executable = made(model, programs, everything)
    assert executable._tuner.searched >= 4
    assert not executable.mirrors[ARENA].host.any(), "measuring wrote to the arena"
    feeds = {"x": rng.standard_normal((6, 50)).astype(np.float32)}
    np.testing.assert_allclose(executable.run(feeds)["y"], expected(model, feeds)["y"], rtol=1e-5, atol=1e-5)
    again = made(model, programs, everything)
    assert again._tuner.searched == 0
