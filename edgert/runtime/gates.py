"""A run over weights that are read ahead: which stages it needs when; rows of tables and neurons read when needed.

Reading is edgert/stream; what stays and what is streamed is edgert/plan/residency.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from edgert.graph.ir import Array
from edgert.kernels_cpu.neurons import LISTED
from edgert.plan.plan import LookupCall, NeuronCall, Plan
from edgert.stream.neurons import NeuronWindow
from edgert.stream.store import WeightStore
from edgert.stream.table import Table


class Gates:
    """The stages of `store` that a run of `plan` uses: before which op each must be there, after which it is free."""

    def __init__(self, plan: Plan, store: WeightStore) -> None:
        self.store = store
        stage_of = {placed.part: stage.index for stage in store.division.stages for placed in stage.parts}
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for op, part in plan.uses:
            stage = stage_of.get(part)
            if stage is not None:
                first.setdefault(stage, op)
                last[stage] = op
        self.order = tuple(sorted(first, key=lambda stage: (first[stage], stage)))
        self._wanted = _grouped({stage: first[stage] for stage in self.order})
        self._free = _grouped({stage: last[stage] + 1 for stage in self.order})

    def cuts(self, first: int, count: int) -> Iterator[tuple[list[int], int, int, list[int]]]:
        """Ops first .. first + count - 1 in pieces: (stages to wait for, first op, ops, stages that are free then)."""
        end = first + count
        edges = {first, end} | {op for op in (*self._wanted, *self._free) if first < op < end}
        for start, stop in pairwise(sorted(edges)):
            yield self._wanted.get(start, []), start, stop - start, self._free.get(stop, [])


def _grouped(at: Mapping[int, int]) -> dict[int, list[int]]:
    """op -> the stages that have it in `at`."""
    groups: dict[int, list[int]] = {}
    for stage, op in at.items():
        groups.setdefault(op, []).append(stage)
    return groups


class Gate:
    """Between pieces of a native run: what is free is given back, what comes next is waited for."""

    def __init__(self, store: WeightStore, free: Sequence[int], wanted: Sequence[int]) -> None:
        self._calls = [(store.release, stage) for stage in free] + [(store.acquire, stage) for stage in wanted]

    def __call__(self) -> None:
        for call, stage in self._calls:
            call(stage)

    def reset(self) -> None:
        pass


class Lookup:
    """The rows that a run looks up, from the file to its arena. rows: a register, how many of the indices count."""

    def __init__(self, call: LookupCall, table: Table, arena: Array, rows: Array) -> None:
        self._call, self._table, self._rows = call, table, rows
        size = call.places.type.numel

        def view(offset: int, dtype: str, count: int) -> Array:
            return arena[offset : offset + count * np.dtype(dtype).itemsize].view(dtype)

        self._indices = view(call.indices.offset, call.indices.type.dtype, size)
        self._places = view(call.places.offset, "int32", size)
        self._window = view(call.window, "uint8", size * call.nbytes).data

    def __call__(self) -> None:
        """Indices below 0 count from the end, and none reaches out of the table, as kernels have it."""
        call, present = self._call, int(self._rows[0]) if self._call.varying else None
        indices = self._indices[:present].astype(np.int64)
        indices = np.clip(np.where(indices < 0, indices + call.rows, indices), 0, call.rows - 1)
        blocks, where = np.unique(indices // call.lines, return_inverse=True)
        self._places[: len(indices)] = where.reshape(-1) * call.lines + indices % call.lines
        size = call.nbytes
        views = [self._window[at * size : (at + 1) * size] for at in range(len(blocks))]
        self._table.read(views, [int(block) * size for block in blocks])

    def reset(self) -> None:
        pass


class Neurons:
    """Sees to it that the neurons which a run has listed are in the window, and tells kernels where."""

    def __init__(self, call: NeuronCall, window: NeuronWindow, arena: Array) -> None:
        self._window, self._layer = window, window.parts.index(call.part)
        count = call.part.nbytes // call.nbytes
        self._count = arena[call.listed : call.listed + 4].view(np.int32)
        self._listed = arena[call.listed + LISTED : call.listed + LISTED + 4 * count].view(np.int32)
        self._slots = arena[call.slots : call.slots + 4 * count].view(np.int32)

    def __call__(self) -> None:
        count = int(self._count[0])
        self._slots[:count] = self._window.want(self._layer, self._listed[:count])

    def reset(self) -> None:
        pass
