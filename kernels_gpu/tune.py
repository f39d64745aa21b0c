"""The tile of each op: a short search on the device, whose result is kept from run to run.

What tiles there are is a matter of the table (table.py); where there is no choice the first one is taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from edgert.errors import DeviceError, KernelError
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.launch import Command
from edgert.kernels_gpu.memory import Mirror
from edgert.kernels_gpu.programs import Programs, probe_of, source_of, with_tile
from edgert.kernels_gpu.sequence import Sequence
from edgert.kernels_gpu.table import Case, Twin

ROUNDS = 4
"""Runs of each tile; the first one warms up, the best of the others counts."""
MARGIN = 0.97
"""What a tile must take of the time of the one before it in the row to be chosen: noise should not decide."""

CROSSED = 1 << 22
"""Bytes that are handed over to learn what a byte takes."""
PROBED = 1 << 14
"""Work-items of a probe."""

Trial = Callable[[Case], list[Command]]
"""The commands of the op with the tile of a case, on memory that may be spoiled."""


class Tuner:
    """The choices for one device, in one file of `folder`: made once for a kernel, its params and its source."""

    def __init__(self, context: Context, folder: Path) -> None:
        self.context = context
        name = hashlib.sha256(context.device.identity.encode()).hexdigest()[:16]
        self.path = folder / f"tiles-{name}.json"
        self.searched = 0
        """Ops that were measured, since this object was made."""
        self._chosen = self._read()

    def tile(self, twin: Twin, case: Case, trial: Trial) -> Mapping[str, int]:
        """The tile to use. Raises what the first one raises, if none works."""
        every = range(len(twin.tiles))
        worth = [i for i in every if twin.suits(with_tile(case, twin.tiles[i]))] or list(every)
        if len(worth) == 1:
            return twin.tiles[worth[0]]
        key = _key(twin, case)
        index = self._chosen.get(key)
        if index not in worth:
            index = self._search(twin, case, trial, worth)
            self._chosen[key] = index
            self._write()
        return twin.tiles[index]

    def time(self, twin: Twin, case: Case, trial: Trial) -> float:
        """Microseconds of the op by the device's clock, with its tile; kept like the choice of that."""
        tile = self.tile(twin, case, trial)
        key = f"ns-{_key(twin, case)}"
        if key not in self._chosen:
            sequence = Sequence(self.context, trial(with_tile(case, tile)))
            self._chosen[key] = int(1e3 * min([sum(sequence.profile()) for _ in range(ROUNDS)][1:]))
            self._write()
        return self._chosen[key] / 1e3

    def crossing(self) -> tuple[float, float]:
        """(microseconds that the host waits until an enqueued command is done and its bytes are there, microseconds per
        byte that is copied there or back)."""
        if "ns-wait" not in self._chosen or "ps-byte" not in self._chosen:
            small, large = (self._round_trip(size) for size in (64, CROSSED))
            self._chosen["ns-wait"] = int(1e9 * small)
            self._chosen["ps-byte"] = max(0, int(1e12 * (large - small) / CROSSED / 2))
            self._write()
        return self._chosen["ns-wait"] / 1e3, self._chosen["ps-byte"] / 1e6

    def _round_trip(self, nbytes: int) -> float:
        """Seconds to hand `nbytes` over, there and back."""
        mirror, times = Mirror(self.context, nbytes, "memory for measuring"), []
        for _ in range(8):
            start = time.perf_counter()
            mirror.to_host([(0, nbytes)])
            mirror.to_device([(0, nbytes)])
            self.context.finish()
            times.append(time.perf_counter() - start)
        return min(times)

    def settle(self, programs: Programs) -> None:
        """Makes the context's device say that it has no integer dot product, if the instruction does not pay: there are
        drivers that say they have it, and take it apart."""
        device = self.context.device
        if not device.capabilities.integer_dot:
            return
        without = replace(device.capabilities, integer_dot=False)
        forms = [probe_of("probe_dot.cl", can) for can in (device.capabilities, without)]
        key = f"integer_dot-{hashlib.sha256(''.join(forms).encode()).hexdigest()[:24]}"
        if key not in self._chosen:
            cl, context = self.context.cl, self.context
            memory = cl.Buffer(context.handle, cl.mem_flags.READ_WRITE, 4 * PROBED)
            times = []
            for form in forms:
                (kernel,) = programs.functions("probe_dot", form, ["probe_dot"])
                kernel.set_arg(0, memory)
                sequence = Sequence(context, [Command("probe_dot", kernel, (PROBED,), (64,))])
                times.append(min([sum(sequence.profile()) for _ in range(ROUNDS)][1:]))
            self._chosen[key] = int(times[0] <= times[1])
            self._write()
        if not self._chosen[key]:
            self.context.device = replace(device, capabilities=without)

    def _search(self, twin: Twin, case: Case, trial: Trial, worth: list[int]) -> int:
        self.searched += 1
        best, winner = float("inf"), worth[0]
        fault: Exception | None = None
        for index in worth:
            try:
                sequence = Sequence(self.context, trial(with_tile(case, twin.tiles[index])))
                times = [sum(sequence.profile()) for _ in range(ROUNDS)]
            except (DeviceError, KernelError) as error:  # too large a group for this device, say
                fault = fault or error
                continue
            if min(times[1:]) < best * MARGIN:
                best, winner = min(times[1:]), index
        if best == float("inf") and fault is not None:
            raise fault
        return winner

    def _read(self) -> dict[str, int]:
        try:
            found = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        table = found.get("tiles") if isinstance(found, dict) else None
        if not isinstance(table, dict):
            return {}
        return {key: index for key, index in table.items() if isinstance(index, int)}

    def _write(self) -> None:
        """Whole or not at all, with what other processes have found meanwhile. Where that is impossible the next start
        searches again."""
        self._chosen = {**self._read(), **self._chosen}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            table = {"device": self.context.device.identity.split("\0"), "tiles": self._chosen}
            temporary.write_text(json.dumps(table, indent=1), "utf-8")
            temporary.replace(self.path)
        except OSError:
            return


def _key(twin: Twin, case: Case) -> str:
    """Of a choice: everything that times may depend on but the values."""
    numbers = {name: value for name, value in case.params.items() if isinstance(value, int)}
    text = json.dumps([twin.kernel, [dict(tile) for tile in twin.tiles], numbers, dict(case.nbytes)], sort_keys=True)
    source = source_of(twin, with_tile(case, {}))
    return f"{twin.kernel}-{hashlib.sha256(f'{text}{source}'.encode()).hexdigest()[:24]}"
