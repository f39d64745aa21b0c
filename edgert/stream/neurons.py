"""A window of neurons: of feed-forward layers that stay in their file, those that recent runs used.

Kernels take neurons by the number of their slot, so nothing that is there ever moves. Source: Alizadeh et al., LLM in
a flash (2023): windowing, row-column bundling, reads of neighbours together.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from edgert.errors import FormatError
from edgert.format.crc import combined
from edgert.format.parts import FilePart
from edgert.stream.fetch import LARGEST, READERS, Fetcher, Request, room
from edgert.stream.memory import Memory
from edgert.stream.source import Source
from edgert.stream.stages import PAGE

Ints = npt.NDArray[np.int32]

GAP = 32 << 10
"""Bytes between two wanted neurons that are rather read than skipped, where the storage was not measured."""
NOTES = 20
"""Bytes of numbers about a slot: what is in it, of which layer, when it was used, and whether it is free."""
BATCH = 32
"""One of so many slots is freed at a time, when there is none: choosing looks at all of them."""


@dataclass
class NeuronStatistics:
    """What a window did. wanted, hits, evicted: neurons. bytes_missing: of the neurons that were not there; bytes_read:
    what was read to have them, in `reads` reads, while `waits` runs of layers waited for `waited` seconds in all."""

    wanted: int = 0
    hits: int = 0
    evicted: int = 0
    bytes_missing: int = 0
    bytes_read: int = 0
    reads: int = 0
    waited: float = 0.0
    waits: int = 0


def window_bytes(neurons: int, nbytes: int, slots: int, readers: int = READERS) -> int:
    """Memory of a window of `slots` slots for `neurons` neurons of `nbytes` bytes each: with what reads go through, and
    the numbers of what is where."""
    return slots * nbytes + 2 * PAGE + readers * room(_largest(nbytes)) + 4 * neurons + NOTES * slots


def _largest(nbytes: int) -> int:
    return max(LARGEST, 2 * nbytes)


def useful_gap(bandwidth: Callable[[int, int], float], depth: int = READERS) -> int:
    """Bytes that are read in the time that another read costs. bandwidth: bytes per second by bytes of a read and reads
    at a time, as a probe has it."""
    rate = bandwidth(LARGEST, depth)
    return max(0, round(PAGE / bandwidth(PAGE, depth) * rate) - PAGE)


class NeuronWindow:
    """`slots` places for neurons of `nbytes` bytes each, for all of `parts`: one for each layer, neurons one after the
    other. Every layer has as many places as its last runs needed; a run may need all neurons of a layer.

    What is not there is read, neighbours together if less than `gap` bytes are between them. When there is no place,
    those go first that the most runs of their own layer did not use, and of these the ones whose layer is furthest
    from its next run. check: whether the parts are compared with their checksums first, which reads them once.

    For one thread at a time; a run that ends early (an error, Ctrl-C) need not tell. Owns the source. Raises
    FormatError where the file is too short or damaged, StorageError where it cannot be read, MemoryBudgetError where
    the system does not give the memory, ValueError for fewer slots than a layer has neurons.
    """

    def __init__(
        self,
        source: Source,
        parts: Sequence[FilePart],
        nbytes: int,
        slots: int,
        *,
        gap: int = GAP,
        readers: int = READERS,
        check: bool = True,
    ) -> None:
        try:
            self._counts = [_count(source, part, nbytes) for part in parts]
            if slots < max(self._counts, default=0):
                raise ValueError(
                    f"{slots} slots: expected as many as the largest layer has neurons, {max(self._counts)}"
                )
            self.parts, self.nbytes, self.slots, self.gap = tuple(parts), nbytes, slots, gap
            self._memory = Memory(slots * nbytes + 2 * PAGE)
            self._rows: npt.NDArray[np.uint8] = np.frombuffer(
                self._memory.view[PAGE : PAGE + slots * nbytes], np.uint8
            ).reshape(slots, nbytes)
            self._fetcher, self._readers = Fetcher(source, readers=readers, largest=_largest(nbytes)), readers
        except BaseException:
            source.close()
            raise
        self._first = np.cumsum([0, *self._counts])
        """Number of the first neuron of each layer, counting through all."""
        self._slot_of = np.full(int(self._first[-1]), -1, np.int32)
        self._neuron_in = np.full(slots, -1, np.int32)
        self._layer_in = np.zeros(slots, np.int32)
        self._seen = np.zeros(slots, np.int64)
        """The run of its own layer that last used what is in a slot."""
        self._runs = np.zeros(len(parts), np.int64)
        self._free = np.arange(slots, dtype=np.int32)
        self._statistics = NeuronStatistics()
        self._whole = True
        """False while slots are being filled, and so after that was interrupted."""
        if check:
            try:
                self._check()
            except BaseException:
                self.close()
                raise

    @property
    def address(self) -> int:
        """Where slot 0 begins, a multiple of 4096; slot s is s * nbytes further."""
        return self._memory.address + PAGE

    @property
    def neurons(self) -> int:
        """Of all layers."""
        return len(self._slot_of)

    @property
    def statistics(self) -> NeuronStatistics:
        """What was done so far, without the check."""
        return replace(self._statistics)

    @property
    def held(self) -> int:
        """Bytes of memory."""
        return window_bytes(len(self._slot_of), self.nbytes, self.slots, self._readers)

    def want(self, layer: int, neurons: Ints) -> Ints:
        """The slots of `neurons`, ascending numbers int32 [N] of `layer`: int32 [N], good until the next call."""
        if not self._whole:
            self._forget()
        self._runs[layer] += 1
        run = self._runs[layer]
        known = neurons + self._first[layer]
        slots: Ints = self._slot_of[known]
        absent = slots < 0
        self._seen[slots[~absent]] = run
        missing = neurons[absent]
        statistics = self._statistics
        statistics.wanted += len(neurons)
        statistics.hits += len(neurons) - len(missing)
        if len(missing):
            if len(missing) > len(self._free):
                self._evict(layer, slots[~absent], len(missing))
            chosen = np.sort(self._free[len(self._free) - len(missing) :])
            self._whole = False
            self._free = self._free[: len(self._free) - len(missing)]
            self._read(layer, missing, chosen)
            self._neuron_in[chosen], self._layer_in[chosen], self._seen[chosen] = known[absent], layer, run
            self._slot_of[known[absent]] = chosen
            self._whole = True
            slots[absent] = chosen
        return slots

    def _evict(self, layer: int, wanted: Ints, count: int) -> None:
        """Frees slots until `count` are free, or a few more; none of `wanted`."""
        layers = len(self.parts)
        away = (np.arange(layers) - layer - 1) % layers  # runs of other layers before the next one of each
        # Of a slot: runs of its layer that did not use it, times layers, plus how far away the next one is.
        value = (self._runs * layers + away)[self._layer_in] - self._seen * layers
        value[wanted] = value[self._free] = -1
        more = max(count - len(self._free), min(self.slots // BATCH, self.slots - len(wanted) - len(self._free)))
        gone = np.argpartition(value, self.slots - more)[self.slots - more :].astype(np.int32)
        self._whole = False
        self._slot_of[self._neuron_in[gone]] = -1
        self._free = np.concatenate([self._free, gone])
        self._whole = True
        self._statistics.evicted += len(gone)

    def _read(self, layer: int, neurons: Ints, slots: Ints) -> None:
        fetcher, part = self._fetcher, self.parts[layer]
        before = fetcher.bytes_read, fetcher.reads
        edges = self._edges(neurons)
        requests = []
        for start, stop in pairwise(edges):
            first, last = int(neurons[start]), int(neurons[stop - 1])
            deliver = partial(self._deliver, neurons[start:stop] - first, slots[start:stop])
            requests.append(Request(part.offset + first * self.nbytes, (last + 1 - first) * self.nbytes, deliver))
        begin = time.perf_counter()
        fetcher.fetch(requests)
        statistics = self._statistics
        statistics.waited += time.perf_counter() - begin
        statistics.waits += 1
        statistics.bytes_missing += len(neurons) * self.nbytes
        statistics.bytes_read += fetcher.bytes_read - before[0]
        statistics.reads += fetcher.reads - before[1]

    def _edges(self, neurons: Ints) -> list[int]:
        """Where, in `neurons`, each read begins, and the end: none is longer than the fetcher reads at once."""
        start = neurons.astype(np.int64) * self.nbytes
        alone = np.ones(len(start), bool)
        alone[1:] = np.diff(start) - self.nbytes > self.gap
        inside = start - start[np.maximum.accumulate(np.where(alone, np.arange(len(start)), 0))]
        part = inside // (self._fetcher.largest - self.nbytes)
        alone[1:] |= np.diff(part) != 0
        return [*np.flatnonzero(alone).tolist(), len(neurons)]

    def _deliver(self, rows: npt.NDArray[Any], slots: Ints, view: memoryview) -> None:
        read = np.frombuffer(view, np.uint8).reshape(-1, self.nbytes)
        self._rows[slots] = read if len(read) == len(rows) else read[rows]

    def _forget(self) -> None:
        """Starts anew, once nothing writes into slots any more."""
        self._fetcher.drop()
        self._slot_of[:] = -1
        self._free = np.arange(self.slots, dtype=np.int32)
        self._whole = True

    def _check(self) -> None:
        """Compares every part with its checksum, in pieces that readers take at the same time."""
        step = self._fetcher.largest
        for part in self.parts:
            found: dict[int, tuple[int, int]] = {}

            def note(at: int, view: memoryview, found: dict[int, tuple[int, int]] = found) -> None:
                found[at] = zlib.crc32(view), len(view)

            starts = range(0, part.nbytes, step)
            self._fetcher.fetch(
                [Request(part.offset + at, min(step, part.nbytes - at), partial(note, at)) for at in starts]
            )
            crc = combined(found[at] for at in starts)
            if crc != part.crc32:
                what = f"CRC-32 {part.crc32:#010x} of {part.tensor!r} {part.role}"
                hint = "the file is damaged: copy or convert it again"
                raise FormatError(part.file, part.offset, what, f"{crc:#010x}", hint)

    def close(self) -> None:
        """Stops the readers, gives memory and file back. May be called again; nothing else may be called after it."""
        self._fetcher.close()
        self._memory.close()
        self._rows = np.empty((0, self.nbytes), np.uint8)


def _count(source: Source, part: FilePart, nbytes: int) -> int:
    """How many neurons a part has."""
    if nbytes <= 0 or nbytes % 64 or part.nbytes % nbytes or part.offset % 64:
        raise ValueError(f"{part}: expected neurons of {nbytes} bytes, a multiple of 64, from a multiple of 64 on")
    if part.offset + part.nbytes > source.size:
        what = f"{part.nbytes} bytes of {part.tensor!r} {part.role}"
        found = f"the end of the file at {source.size}"
        raise FormatError(source.file, part.offset, what, found, "it is truncated: copy or convert it again")
    return part.nbytes // nbytes
