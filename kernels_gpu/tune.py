"""The tile of each op: a short search on the device, whose result is kept from run to run.

What tiles there are is a matter of the table (table.py); where there is no choice the first one is taken.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path

from edgert.errors import DeviceError, KernelError
from edgert.kernels_gpu import probes
from edgert.kernels_gpu.choices import Choices
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.launch import Command
from edgert.kernels_gpu.measure import best_times
from edgert.kernels_gpu.programs import Programs, source_of, with_tile
from edgert.kernels_gpu.sequence import Sequence
from edgert.kernels_gpu.table import Case, Twin

MARGIN = 0.97
"""What a tile must take of the time of the one before it in the row to be chosen: noise should not decide."""

Trial = Callable[[Case], list[Command]]
"""The commands of the op with the tile of a case, on memory that may be spoiled."""


class Tuner:
    """The choices for one device, in one file of `folder`: made once for a kernel, its params and its source."""

    def __init__(self, context: Context, folder: Path) -> None:
        self.context = context
        self.choices = Choices(context.device, folder)
        self.searched = 0
        """Ops that were measured, since this object was made."""

    def settle(self, programs: Programs) -> None:
        """See probes.settle."""
        probes.settle(self.context, programs, self.choices)

    def crossing(self) -> tuple[float, float]:
        """See probes.crossing."""
        return probes.crossing(self.context, self.choices)

    def tile(self, twin: Twin, case: Case, trial: Trial) -> Mapping[str, int]:
        """The tile to use. Raises what the first one raises, if none works."""
        every = range(len(twin.tiles))
        worth = [i for i in every if twin.suits(with_tile(case, twin.tiles[i]))] or list(every)
        if len(worth) == 1:
            return twin.tiles[worth[0]]
        key = _key(twin, case)
        index = self.choices.get(key)
        if index is None or index not in worth:
            index = self._search(twin, case, trial, worth)
            self.choices.put(key, index)
        return twin.tiles[index]

    def time(self, twin: Twin, case: Case, trial: Trial) -> float:
        """Microseconds of the op by the device's clock, with its tile; kept like the choice of that."""
        tile = self.tile(twin, case, trial)
        key = f"ns-{_key(twin, case)}"
        found = self.choices.get(key)
        if found is None:
            times = best_times([Sequence(self.context, trial(with_tile(case, tile)))])
            if times.fault is not None:
                raise times.fault
            found = int(1e3 * times.us[0])
            self.choices.put(key, found)
        return found / 1e3

    def _search(self, twin: Twin, case: Case, trial: Trial, worth: list[int]) -> int:
        self.searched += 1
        sequences: dict[int, Sequence] = {}
        fault: Exception | None = None
        for index in worth:
            try:
                sequences[index] = Sequence(self.context, trial(with_tile(case, twin.tiles[index])))
            except (DeviceError, KernelError) as error:  # too large a group for this device, say
                fault = fault or error
        times = best_times(list(sequences.values()))
        best, winner = inf, -1
        for index, us in zip(sequences, times.us, strict=True):
            if us < best * MARGIN:
                best, winner = us, index
        if winner < 0:
            raise fault or times.fault or DeviceError(f"{twin.kernel} has no tile that works on this device")
        return winner


def _key(twin: Twin, case: Case) -> str:
    """Of a choice: everything that times may depend on but the values."""
    numbers = {name: value for name, value in case.params.items() if isinstance(value, int)}
    text = json.dumps([twin.kernel, [dict(tile) for tile in twin.tiles], numbers, dict(case.nbytes)], sort_keys=True)
    source = source_of(twin, with_tile(case, {}))
    return f"{twin.kernel}-{hashlib.sha256(f'{text}{source}'.encode()).hexdigest()[:24]}"
