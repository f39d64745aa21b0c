"""Which ops run on a device, and which bytes change hands: nothing twice, and nothing too late."""

from __future__ import annotations

import pytest
from networks import float_model, mixed_chain

from edgert.graph.infer import infer_types
from edgert.kernels_cpu.levels import LEVELS
from edgert.kernels_gpu.device import Capabilities
from edgert.kernels_gpu.table import Twin, twins
from edgert.plan.devices import IN_HALVES, Placement, place, wherever_possible
from edgert.plan.emitter import ARENA
from edgert.plan.lowering.strided import reach_back
from edgert.plan.plan import Plan
from edgert.plan.planner import make_plan
from edgert.plan.ranges import size
from edgert.program import Op

LEVEL = LEVELS["x86-64-v3"]
DEVICE = Capabilities(
    (3, 0), False, False, False, False, (), False, True, 2, 1000, 256, (256, 256, 256), 1 << 15, True, 1 << 30, 1 << 28,
    64, 1024, (0, 0),
)  # fmt: skip
NBYTES = 4 * 32 * 100


def chain() -> Plan:
    """Two products on values of NBYTES, a node in NumPy, and a difference."""
    model = mixed_chain()
    return make_plan(infer_types(model.graph), model.tensors, level=LEVEL, threads=1)


def moved(placement: Placement) -> list[int]:
    """Bytes that arrive at each part, and those of the outputs."""
    parts = [part.arrives for part in placement.parts]
    return [sum(size(ranges) for ranges in bytes_.values()) for bytes_ in (*parts, placement.returns)]


def test_all_that_has_a_twin_runs_there() -> None:
    placement = place(chain(), wherever_possible(DEVICE, LEVEL.act_signed))
    assert [(part.on_device, part.count) for part in placement.parts] == [(True, 2), (False, 0), (True, 1)]
    assert placement.ops_on_device == 3 and placement.crossings == 2
    # x there; the product back; what NumPy made there, but the first sum is there already; the answer back.
    assert moved(placement) == [NBYTES] * 4
    assert placement.transferred == 4 * NBYTES
    kinds = [step.kind for step in placement.plan.steps]
    assert kinds.count("opencl") == 3 and kinds.count("host") == 1
    assert {step.kernel for step in placement.plan.steps} == {"binary_f32_opencl", "host:Hardmax"}


def test_what_runs_on_the_processor_is_named_with_the_reason() -> None:
    placement = place(chain(), lambda index, op: "no" if index == 1 else "")
    assert [part.on_device for part in placement.parts] == [True, False, True]
    (step,) = [step for step in placement.plan.steps if step.kind == "native"]
    assert step.op == "Mul" and step.reason.endswith("; on the processor: no")
    # The first sum comes to the processor for the product, and is still on the device for the difference.
    assert moved(placement) == [NBYTES] * 4


def test_products_in_halves_are_named() -> None:
    model = float_model(1)
    plan = make_plan(infer_types(model.graph), model.tensors, level=LEVEL, threads=1)
    placement = place(plan, wherever_possible(DEVICE, LEVEL.act_signed), halves=True)
    kernels = [step.kernel for step in placement.plan.steps if step.reason.endswith(IN_HALVES)]
    assert kernels and all(kernel.endswith("_fp16_opencl") for kernel in kernels)
    assert all(step.op in ("Conv", "Gemm") for step in placement.plan.steps if IN_HALVES in step.reason)
    assert not any("fp16" in step.kernel for step in place(plan, lambda index, op: "no", halves=True).plan.steps)


def test_nothing_moves_where_all_runs_on_one_side() -> None:
    on_host = place(chain(), lambda index, op: "no")
    assert [part.on_device for part in on_host.parts] == [False] and moved(on_host) == [0, 0]
    assert on_host.crossings == 1
    assert place(chain(), lambda index, op: "").parts[0].arrives[ARENA], "the input is the host's"


def test_an_operand_that_no_table_says_is_read_only_may_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgert.plan.devices.twins", dict[str, Twin])
    placement = place(chain(), lambda index, op: "" if index == 2 else "not here")
    # Besides the sum and what NumPy made, nothing is the device's to read.
    assert moved(placement)[1] == 2 * NBYTES


def test_a_copy_with_negative_strides_reaches_back() -> None:
    axes = {f"size{i}": 1 for i in range(8)} | {f"{side}_stride{i}": 0 for side in "xy" for i in range(8)}
    params = {**axes, "size6": 3, "x_stride6": -40, "y_stride6": 40, "size7": 10, "x_stride7": -4, "y_stride7": 4}
    assert reach_back(params, "x") == 2 * 40 + 9 * 4 and reach_back(params, "y") == 0


def test_reasons() -> None:
    choose = wherever_possible(DEVICE, False)
    op = chain().program.ops[0]
    assert choose(0, op) == ""
    assert choose(0, Op("conv2d_q8_k4p_amx", {}, {}, 1)) == "conv2d_q8_k4p_amx has no OpenCL form"


def test_every_row_of_the_table_fits_its_kernel() -> None:
    from edgert.kernels_gpu.programs import SOURCES

    used = {"prelude.cl"}
    for name, twin in twins().items():
        assert name == twin.kernel and twin.tiles and twin.entries
        for file in twin.files:
            text = (SOURCES / file).read_text("utf-8")
            used.add(file)
        for function in twin.entries:
            assert f"KERNEL({function})" in text, f"{twin.files[-1]} has no KERNEL({function})"
    assert {path.name for path in SOURCES.glob("*")} == used, "a source that no row uses"
