"""A model planned for streaming: what must stay in memory, what is read in every run, and the store that reads it.

How the bytes come is edgert/stream, what stays plan/residency.py; language models, whose several plans share one store,
are edgert/llm's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from edgert.errors import MemoryBudgetError
from edgert.format.model import StoredTensor
from edgert.format.parts import FilePart, Parts
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph
from edgert.plan.budget import show_bytes
from edgert.plan.emitter import WIDENING
from edgert.plan.plan import LookupCall, Plan
from edgert.plan.planner import make_plan
from edgert.plan.residency import divide, least
from edgert.plan.split import limit_for, split_products
from edgert.plan.stream_cost import StreamCost, describe, predict
from edgert.stream.probe import load_storage
from edgert.stream.readers import Checks
from edgert.stream.source import DirectSource
from edgert.stream.stages import Division
from edgert.stream.statistics import Statistics
from edgert.stream.store import WeightStore
from edgert.stream.table import Table

EVERYTHING = 1 << 30
"""Bytes beyond what whole pages add to weights, where nothing limits them."""


@dataclass(frozen=True)
class StreamedPlan:
    """plan: of the products as they are cut; its memory is all but the weights that lie in the file. parts: those, in
    the order of use."""

    plan: Plan
    tensors: Mapping[str, StoredTensor]
    parts: tuple[FilePart, ...]

    @property
    def least(self) -> int:
        """Bytes of the smallest budget that works."""
        return self.plan.memory.total + least(self.parts)

    @property
    def tables(self) -> tuple[FilePart, ...]:
        """What rows are looked up in: it lies in the file alone."""
        return tuple(dict.fromkeys(call.part for call in self.plan.schedule if isinstance(call, LookupCall)))

    @property
    def whole(self) -> int:
        """Bytes with all that is used of the file in memory, as a mapping has it; there halves that are widened take
        memory of their own."""
        parts = dict.fromkeys((*self.parts, *self.tables))
        first = len(self.plan.program.segments) - len(self.plan.weights)
        operands = [op.operands["x"] for op in self.plan.program.ops if op.kernel == WIDENING]
        widened = {operand.segment - first for operand in operands if operand is not None and operand.segment >= first}
        halves = sum(self.plan.weights[index].nbytes for index in widened)
        return self.plan.memory.total + sum(part.nbytes for part in parts) + 2 * halves

    def check(self, ram: int | None) -> None:
        """Raises MemoryBudgetError if `ram` bytes are too few."""
        if ram is not None and ram < self.least:
            plan = self.plan
            raise MemoryBudgetError(
                f"expected a plan within {show_bytes(ram)}, found {plan.memory.describe()} with {plan.threads} "
                f"thread{'s' if plan.threads > 1 else ''}, and {show_bytes(least(self.parts))} to stream "
                f"{show_bytes(sum(part.nbytes for part in self.parts))} of weights through; the smallest budget that "
                f"works is ram={self.least} ({show_bytes(self.least)}), or use smaller inputs"
            )

    def divide(self, ram: int | None) -> Division:
        """What stays and what is streamed within `ram` bytes in all; None: everything stays."""
        return divide(self.parts, 2 * self.whole + EVERYTHING if ram is None else ram - self.plan.memory.total)

    def open_store(self, division: Division, checks: Checks) -> WeightStore:
        """Reads what stays, and gives what reads the rest. Raises FormatError, StorageError, MemoryBudgetError."""
        return WeightStore(DirectSource(self.parts[0].file), division, self._check, checks=checks)

    def open_tables(self, checks: Checks) -> dict[FilePart, Table]:
        """What rows are looked up in. Raises FormatError, StorageError."""
        return {part: Table(part, check=checks != "never") for part in self.tables}

    def _check(self, arrived: Mapping[FilePart, npt.NDArray[Any]], crc: bool) -> None:
        """See stream.readers.Checker."""
        check_parts(self.tensors, arrived, crc)


@dataclass(frozen=True)
class StreamedWeights:
    """The weights of a session that are read in every run of `plan`."""

    plan: Plan
    store: WeightStore

    @property
    def statistics(self) -> Statistics:
        """What was read and waited for so far."""
        return self.store.statistics

    @property
    def streamed_bytes(self) -> int:
        """What was read for runs so far, and ahead for the next one."""
        return self.statistics.bytes_read - self.store.division.home.nbytes

    def cost(self) -> StreamCost:
        """What a run is predicted to take, on the storage as it was measured or is assumed."""
        looked_up = sum(call.nbytes for call in self.plan.schedule if isinstance(call, LookupCall))
        storage = load_storage(self.store.source.file)
        return predict(self.store.division, storage, self.plan.predicted_us / 1e6, looked_up=looked_up)

    def describe(self) -> str:
        """For the first line of a run: '9.1 MB of 14.4 MB read for each run, predicted 40.1 runs/s (...), O_DIRECT'."""
        how = self.store.source.how
        if not self.store.division.stages:
            return f"weights read into memory ({how})"
        return f"{describe(self.cost(), 'run')}, {how}"


def check_parts(tensors: Mapping[str, StoredTensor], arrived: Mapping[FilePart, npt.NDArray[Any]], crc: bool) -> None:
    """Raises FormatError unless the bytes that arrived are the parts of `tensors` that they should be."""
    groups: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for part, content in arrived.items():
        groups.setdefault(part.tensor, {})[part.role] = content
    for name, roles in groups.items():
        parts = tensors[name].parts
        assert isinstance(parts, Parts)
        parts.check_arrived(roles, crc=crc)


def plan_streamed(
    graph: Graph, tensors: Mapping[str, StoredTensor], bindings: Mapping[str, int], ram: int | None, **options: Any
) -> StreamedPlan:
    """The plan of `graph` at these sizes that takes no weights from their file. options: of make_plan.

    With one thread where `ram` bytes are not enough for more. What `ram` has no room for at all is judged by the
    caller, from `least`.
    """
    split = split_products(graph, tensors, limit_for(graph, tensors))
    typed = infer_types(split.graph, bindings)

    def planned(threads: int) -> StreamedPlan:
        plan = make_plan(typed, split.tensors, **{**options, "threads": threads, "ram": None}, stream=True)
        return StreamedPlan(plan, split.tensors, tuple(part for _, part in plan.uses))

    found = planned(options["threads"])
    if ram is not None and found.least > ram and found.plan.threads > 1:
        found = planned(1)
    return found
