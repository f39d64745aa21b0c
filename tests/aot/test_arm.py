"""The whole default model on emulated ARM processors: planned for them, linked into their memory, run in one call.

Integer results must be those of this machine, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import ARM_LEVELS, machine

import edgert
from edgert.format import read_model
from edgert.graph.infer import infer_types
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.registry import kernels, opcodes
from edgert.plan.emitter import REGISTER_BYTES
from edgert.plan.plan import NativeRun, Plan
from edgert.plan.planner import make_plan
from edgert.program import assemble, link


class EmulatedSession:
    """A plan in the memory of an emulated machine. The counterpart of runtime/executable.py."""

    def __init__(self, plan: Plan, arm: Any) -> None:
        arm.reset()
        self.plan, self.arm = plan, arm
        self.arena = arm.push(bytes(plan.memory.arena))
        registers, state = arm.push(bytes(REGISTER_BYTES)), arm.push(bytes(plan.memory.state))
        weights = [arm.push(w.tobytes()) for w in plan.weights]
        bases = [self.arena, arm.push(plan.constants.tobytes()), registers, state, *weights]
        self.program = arm.push(link(assemble(plan.program), bases).tobytes())
        table = np.zeros(len(kernels()) + 1, np.int64)
        for name in plan.program.kernels:
            table[opcodes()[name]] = arm.symbols[f"edgert_k_{name}"]
        self.table = arm.push(table.tobytes())
        self.scratch = arm.push(bytes(max(plan.program.scratch, 64)))

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, slot in self.plan.inputs.items():
            self.arm.uc.mem_write(self.arena + slot.offset, feeds[name].tobytes())
        (native,) = self.plan.schedule
        assert isinstance(native, NativeRun)
        self.arm.call(self.arm.symbols["edgert_run_single"], self.program, native.count, self.table, self.scratch)
        outputs = {}
        for name, slot in self.plan.outputs.items():
            data = self.arm.pull(self.arena + slot.offset, slot.type.nbytes)
            outputs[name] = data.view(slot.type.np_dtype).reshape(slot.type.static_shape)
        return outputs


@pytest.mark.parametrize("level", ARM_LEVELS, ids=lambda level: level.name)
def test_int8_model_gives_the_bits_of_this_machine(
    level: Level, default_model: Callable[[str], Path], samples: np.ndarray
) -> None:
    model = read_model(default_model("int8"))
    graph = infer_types(model.graph, {"N": 1})
    plan = make_plan(graph, model.tensors, level=level, threads=1)
    assert plan.count("host") == 0
    emulated = EmulatedSession(plan, machine(level, *plan.program.kernels))
    with edgert.load(default_model("int8"), threads=1) as session:
        for number, image in enumerate(samples):
            expected = session.run({"image": image[None]})
            found = emulated.run({"image": image[None]})
            np.testing.assert_array_equal(found["logits"], expected["logits"])
            assert found["logits"].argmax() == number
