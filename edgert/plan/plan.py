"""Plan: what will run, where every tensor lies, and why. Plain data, made by planner.py and run by edgert/runtime.

Printing it is explain.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgert.format.parts import FilePart
from edgert.graph.ir import Array, Node, TensorType
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.reference import Quant
from edgert.plan.budget import MemoryUse
from edgert.program import Program


@dataclass(frozen=True)
class Slot:
    """A row-major tensor at a byte offset of the arena."""

    offset: int
    type: TensorType


Source: TypeAlias = "Slot | Array | None"
"""Where a host op or an output finds a value: the arena, a constant, or absent."""


@dataclass(frozen=True)
class State:
    """A tensor that lives from run to run, read as `past` and made in place as `present`: nbytes bytes at an
    offset of segment 'state', in `layout`."""

    past: str
    present: str
    type: TensorType
    layout: str
    offset: int
    nbytes: int


@dataclass(frozen=True)
class NativeRun:
    """Ops first .. first + count - 1 of the program: one native call."""

    first: int
    count: int


@dataclass(frozen=True)
class HostCall:
    """A node that NumPy computes (kernels_cpu/reference), between native runs. `outputs` has None for an
    output that has no name. step: index of its Step."""

    step: int
    node: Node
    inputs: tuple[Source, ...]
    outputs: tuple[Slot | None, ...]
    quant_in: tuple[Quant | None, ...]
    quant_out: tuple[Quant | None, ...]
    dtype_out: tuple[str, ...]


@dataclass(frozen=True)
class LookupCall:
    """Rows of a table that are read from the file before a native op takes them, so that the table needs no memory.

    step: index of the op's Step. part: the table, `rows` rows, `lines` of which lie together in `nbytes` bytes.
    indices: which rows, int32 or int64. window: offset in the arena where what is read goes, blocks of `nbytes` one
    after the other. places: the indices into the window, int32. varying: only as many count as register ROWS says.
    """

    step: int
    part: FilePart
    rows: int
    lines: int
    nbytes: int
    indices: Slot
    window: int
    places: Slot
    varying: bool


@dataclass(frozen=True)
class NeuronCall:
    """Neurons that are read from the file, where they are not there from earlier runs, before native ops need them.

    step: index of their Step. part: the neurons of a layer, `nbytes` bytes each. listed: offset in the arena of the
    list of those that are needed, see kernels_cpu/neurons. slots: where the arena is told which slot of the window,
    whose address the part has, each of them is in: int32.
    """

    step: int
    part: FilePart
    nbytes: int
    listed: int
    slots: int


Call: TypeAlias = NativeRun | HostCall | LookupCall | NeuronCall
"""An entry of a schedule."""


@dataclass(frozen=True)
class Step:
    """One line of the plan: a node, or a layout conversion before it.

    kind: 'native', 'host', 'convert', 'free' (shares its input's memory, nothing runs), or 'later' (planned in the
    run, when values it waits for are there). kernel: its listed
    name with the ISA, or 'host:<operator>'. rejected: other ways and why not. layouts: of the activations.
    first_op, ops: its records in the program. predicted_us: microseconds for all threads together. sparse: the
    pattern and share of zeros that its kernel skips, '' for a dense one.
    """

    node: str
    op: str
    kind: str
    kernel: str
    reason: str
    rejected: tuple[str, ...]
    in_layouts: tuple[str, ...]
    out_layouts: tuple[str, ...]
    predicted_us: float
    macs: int
    nbytes: int
    chunks: int
    first_op: int
    ops: int
    sparse: str = ""


@dataclass(frozen=True)
class Plan:
    """Everything a session needs to run one model at fixed shapes on `threads` threads of one ISA level.

    schedule: what runs, in order. constants: the bytes of segment 'constants'. weights: what is behind the segments
    'weights:...', in segment order: arrays, or for streaming where the file has them. arena_bound: no arrangement
    could need less. peaks: 'measured' or 'uncalibrated', where predicted times come from. states: equal for plans of
    one graph at the same sizes, so that they can share the memory. later: nodes that wait for values of the run.
    """

    level: Level
    threads: int
    steps: tuple[Step, ...]
    program: Program
    schedule: tuple[Call, ...]
    inputs: dict[str, Slot]
    outputs: dict[str, Slot | Array]
    constants: npt.NDArray[np.uint8]
    weights: tuple[Array | FilePart, ...]
    memory: MemoryUse
    arena_bound: int
    peaks: str
    states: tuple[State, ...] = ()
    later: tuple[Step, ...] = ()

    @property
    def predicted_us(self) -> float:
        """Microseconds for one run, host ops included."""
        return sum(step.predicted_us for step in self.steps)

    @property
    def uses(self) -> tuple[tuple[int, FilePart], ...]:
        """(op, part) of every use of a part that is streamed as a whole, in the order of a run."""
        first, windowed = len(self.program.segments) - len(self.weights), {call.part for call in self.neurons}
        found = []
        for index, op in enumerate(self.program.ops):
            for operand in op.operands.values():
                part = self.weights[operand.segment - first] if operand and operand.segment >= first else None
                if isinstance(part, FilePart) and part not in windowed:
                    found.append((index, part))
        return tuple(use for use, _ in groupby(found))

    @property
    def neurons(self) -> tuple[NeuronCall, ...]:
        """The layers whose neurons are read one by one."""
        return tuple(call for call in self.schedule if isinstance(call, NeuronCall))

    def count(self, kind: str) -> int:
        """How many steps are of `kind`."""
        return sum(step.kind == kind for step in self.steps)
