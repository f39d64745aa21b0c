"""The weights of a decoder that are read in every run: one store for all of its programs, and what it did.

What stays and what is streamed was planned in plans.py and plan/residency.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from threading import Lock
from typing import Any

import numpy.typing as npt

from edgert.format.parts import FilePart
from edgert.llm.plans import Mode, Plans
from edgert.plan.stream_cost import StreamCost, describe, predict
from edgert.runtime.stream_plan import check_parts
from edgert.stream.neurons import NeuronWindow, useful_gap
from edgert.stream.probe import load_storage
from edgert.stream.readers import Checks
from edgert.stream.source import DirectSource
from edgert.stream.stages import Division
from edgert.stream.statistics import Statistics
from edgert.stream.store import WeightStore
from edgert.stream.table import Table


def cost_of(plans: Plans, division: Division, mode: Mode) -> StreamCost:
    """What a run of `mode` is predicted to take, on the storage that the weights are on."""
    plan, rows = plans.plan(mode), plans.rows(mode)
    return predict(
        division, load_storage(plans.parts[0].file), plan.predicted_us / 1e6, tokens=rows,
        uses=[part for _, part in plan.uses], looked_up=rows * plans.looked_up,
    )  # fmt: skip


class StreamedWeights:
    """What `plans` stream within `ram` bytes. What stays is read now, and what rows are looked up in is checked.

    Raises FormatError, StorageError or MemoryBudgetError.
    """

    def __init__(self, plans: Plans, ram: int | None, checks: Checks) -> None:
        division, tensors = plans.divide(ram), plans.tensors
        turn = Lock()

        def check(arrived: Mapping[FilePart, npt.NDArray[Any]], crc: bool) -> None:
            # Judging sparse parts takes several times their bytes: by one reader at a time that is little.
            sparse = any(tensors[part.tensor].sparse for part in arrived)
            with turn if sparse else nullcontext():
                check_parts(tensors, arrived, crc)

        self._file = plans.parts[0].file
        self._compute, self._looked_up = plans.plan("decode").predicted_us / 1e6, plans.looked_up
        self.tables: dict[FilePart, Table] = {}
        self.window: NeuronWindow | None = None
        try:
            for part in plans.tables:
                self.tables[part] = Table(part, check=checks != "never")
            self.window = _window(plans, ram, check=checks != "never")
            self.store = WeightStore(DirectSource(self._file), division, check, checks=checks)
        except BaseException:
            self._close_others()
            raise
        plans.model.drop_pages()

    @property
    def statistics(self) -> Statistics:
        """What was read and waited for so far, by stages and neurons."""
        known = self.store.statistics
        if self.window is not None:
            more = self.window.statistics
            known.bytes_read, known.reads = known.bytes_read + more.bytes_read, known.reads + more.reads
            known.waited, known.waits = known.waited + more.waited, known.waits + more.waits
        return known

    def cost(self) -> StreamCost:
        """What decoding a token is predicted to take."""
        return predict(self.store.division, load_storage(self._file), self._compute, looked_up=self._looked_up)

    def describe(self) -> str:
        """For the first line of a run."""
        division, how = self.store.division, self.store.source.how
        if not division.stages:
            return f"all weights read into memory ({how})"
        words = f"{describe(self.cost())}, {how}"
        if self.window is not None:
            words += f", room for {self.window.slots} of {self.window.neurons} neurons"
        return words

    def close(self) -> None:
        """Stops reading, and gives memory and file back. May be called twice."""
        self.store.close()
        self._close_others()

    def _close_others(self) -> None:
        for table in self.tables.values():
            table.close()
        if self.window is not None:
            self.window.close()


def _window(plans: Plans, ram: int | None, *, check: bool) -> NeuronWindow | None:
    """For the neurons that are read one by one, if there are any."""
    if not plans.neurons:
        return None
    parts = [call.part for call in plans.neurons]
    gap = useful_gap(load_storage(parts[0].file).bandwidth)
    nbytes, slots = plans.neurons[0].nbytes, plans.slots(ram)
    return NeuronWindow(DirectSource(parts[0].file), parts, nbytes, slots, gap=gap, check=check)
