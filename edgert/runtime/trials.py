"""Ops on memory of zeros, for measuring: indices are valid there, and nothing that is needed is written.

What is measured, and what becomes of it, is kernels_gpu/tune.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgert.errors import UnsupportedError
from edgert.format.parts import FilePart
from edgert.graph.ir import Array
from edgert.kernels_gpu.context import translated
from edgert.kernels_gpu.launch import Command, Place, commands_of
from edgert.kernels_gpu.memory import AROUND, Weights
from edgert.kernels_gpu.programs import Programs
from edgert.kernels_gpu.table import Case, Twin, case_of, twins
from edgert.plan.emitter import ARENA, CONSTANTS, FIRST_WEIGHTS, REGISTER_BYTES, REGISTERS, STATE
from edgert.plan.plan import Plan
from edgert.program import Op, Operand

WRITTEN = (ARENA, STATE, REGISTERS)
"""Segments that a run writes."""


class Trials:
    """Commands of ops of `plan`; their memory goes with this object. fixed: where constants and weights are."""

    def __init__(self, plan: Plan, programs: Programs, fixed: Mapping[int, Place]) -> None:
        self.plan, self.programs, self.fixed = plan, programs, fixed
        self._spare: dict[int, Any] = {}
        self._sizes = {ARENA: plan.memory.arena, STATE: plan.memory.state, REGISTERS: REGISTER_BYTES}

    def commands(self, twin: Twin, case: Case, op: Op) -> list[Command]:
        """Those of `op` with the tile of `case`. Raises what commands_of raises."""
        context = self.programs.context
        cl, queue = context.cl, context.queue
        with translated(context.device, "memory for measuring was made"):
            for segment in WRITTEN:
                size = self._sizes[segment] + AROUND
                if segment not in self._spare:
                    self._spare[segment] = cl.Buffer(context.handle, cl.mem_flags.READ_WRITE, size)
                # All rows are there.
                value = np.full(1, np.iinfo(np.int32).max if segment == REGISTERS else 0, np.int32)
                cl.enqueue_fill_buffer(queue, self._spare[segment], value, 0, size // 4 * 4)
        places = {name: self._place(operand) for name, operand in op.operands.items()}
        return commands_of(self.programs, twin, case, places)

    def _place(self, operand: Operand | None) -> Place | None:
        if operand is None:
            return None
        if operand.segment in self._spare:
            return Place(self._spare[operand.segment], operand.offset, operand.nbytes)
        return within(self.fixed[operand.segment], operand)


def within(base: Place, operand: Operand) -> Place:
    """An operand in a segment that lies at `base`."""
    return Place(base.buffer, base.offset + operand.offset, operand.nbytes)


def op_case(plan: Plan, programs: Programs, op: Op) -> Case:
    """What the row of the op's twin sees of it."""
    nbytes = {name: operand.nbytes for name, operand in op.operands.items() if operand is not None}
    device = programs.context.device.capabilities
    return case_of(twins()[op.kernel], op.params, nbytes, device, plan.level.act_signed)


def fixed_places(plan: Plan, weights: Weights, ops: list[Op]) -> dict[int, Place]:
    """Where constants and weights of `ops` are on the device, by segment; placed there if they are not yet."""
    used = sorted({o.segment for op in ops for o in op.operands.values() if o is not None} - set(WRITTEN))
    arrays = [plan.constants if i == CONSTANTS else _mapped(plan.weights[i - FIRST_WEIGHTS]) for i in used]
    return dict(zip(used, weights.places(arrays), strict=True))


def _mapped(part: Array | FilePart) -> Array:
    if isinstance(part, FilePart):
        raise UnsupportedError("weights are not streamed to an OpenCL device; use --device cpu, or more ram")
    return part
