"""`--device auto`: the division with the least predicted time, against all that there are."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from networks import mixed_chain

from edgert.graph.infer import infer_types
from edgert.kernels_cpu.levels import LEVELS
from edgert.plan.emitter import ARENA
from edgert.plan.plan import NativeRun, Plan
from edgert.plan.planner import make_plan
from edgert.plan.split_devices import Crossing, cheapest


def chain() -> Plan:
    model = mixed_chain()
    return make_plan(infer_types(model.graph), model.tensors, level=LEVELS["x86-64-v3"], threads=1)


def predicted(plan: Plan, device_us: list[float], crossing: Crossing, on_device: tuple[bool, ...]) -> float:
    """Microseconds of a run with these ops on the device, added up step by step."""
    total, there = 0.0, False
    for call in plan.schedule:
        ops = range(call.first, call.first + call.count) if isinstance(call, NativeRun) else [None]
        for op in ops:
            here = op is not None and on_device[op]
            if op is None:
                total += (crossing.wait_us if there else 0.0) + plan.steps[call.step].predicted_us  # type: ignore[union-attr]
            else:
                read = sum(
                    o.nbytes for o in plan.program.ops[op].operands.values() if o is not None and o.segment == ARENA
                )
                step = next(s for s in plan.steps if s.ops and s.first_op == op)
                total += (crossing.wait_us + crossing.byte_us * read) * (here != there)
                total += device_us[op] if here else step.predicted_us
            there = here
    return total + (crossing.wait_us + crossing.byte_us * 4 * 32 * 100 if there else 0.0)


@pytest.mark.parametrize("wait", [0.0, 0.3, 2.0, 100.0])
@pytest.mark.parametrize("byte", [0.0, 1e-4])
@pytest.mark.parametrize("seed", range(6))
def test_there_is_no_better_division(wait: float, byte: float, seed: int) -> None:
    plan, crossing = chain(), Crossing(wait, byte)
    rng = np.random.default_rng(seed)
    count = len(plan.program.ops)
    times = [float(t) for t in rng.uniform(0, 2 * max(s.predicted_us for s in plan.steps if s.ops), count)]
    reasons = [""] * count
    if seed % 2:
        times[1], reasons[1] = math.inf, "no OpenCL form"
    choose = cheapest(plan, times, crossing, reasons)
    found = tuple(not choose(index, op) for index, op in enumerate(plan.program.ops))
    best = min(predicted(plan, times, crossing, every) for every in product([False, True], repeat=count))
    assert predicted(plan, times, crossing, found) == pytest.approx(best)
    if seed % 2:
        assert choose(1, plan.program.ops[1]) == "no OpenCL form"


def test_the_reason_has_both_times() -> None:
    plan = chain()
    choose = cheapest(plan, [5e3] * 3, Crossing(70, 0), [""] * 3)
    assert choose(0, plan.program.ops[0]).startswith("predicted 5000.0 us on the device and ")
    assert choose(0, plan.program.ops[0]).endswith(" us here, 70 us to change sides")
