"""Runs records on an OpenCL device in place of the CPU: EDGERT_TEST_DEVICE=opencl:0 pytest tests/kernels.

The tests of the kernels are those of their twins. What has no twin is skipped; floats have a tolerance, see conftest.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.kernels_cpu.levels import LEVELS, Level, host_levels
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.device import choose, halving
from edgert.kernels_gpu.launch import Place, commands_of
from edgert.kernels_gpu.programs import Programs, with_tile
from edgert.kernels_gpu.table import case_of, twins
from edgert.plan.lowering.strided import KERNEL as COPY
from edgert.plan.lowering.strided import reach_back

DEVICE = os.environ.get("EDGERT_TEST_DEVICE", "")
"""'opencl:0', or '' where the CPU's kernels are tested."""
HALVES = os.environ.get("EDGERT_TEST_PRECISION", "fp32") == "fp16"
"""Whether twins that multiply in halves do."""
SHARE = int(os.environ.get("EDGERT_TEST_SHARE", "1"))
"""One test of so many runs."""
SMALL = int(os.environ.get("EDGERT_TEST_SMALL", "0"))
"""Where it is not 0, records run whose operands have at most so many bytes together: for Oclgrind, which interprets. Of
tests that differ in sizes only, those run that are the first, fourth, sixteenth ... with a small record of a twin."""
RTOL, ATOL = (4e-3, 1e-2) if HALVES else (1e-5, 4e-6)
"""What floats of a twin may differ by: of each value, and of the largest one beside it."""
_calls: Counter[str] = Counter()
_offers: Counter[tuple[str, str]] = Counter()
_taken = ""
"""The test that was taken last. It runs whole: some twins run behind others only."""
GUARD = 1024
GUARD_BYTE = 0xA5


class NoTwin(pytest.skip.Exception):
    """This record does not run on the device: a skipped test, or an offer that is passed over."""


def levels() -> tuple[Level, ...]:
    """What records are made for: unsigned and signed activations. There are no tiles on a GPU."""
    host = [level for level in host_levels() if "amx" not in level.features][-1]
    other = LEVELS["armv8-a"] if not host.act_signed else LEVELS["x86-64-v3"]
    return tuple(replace(level, name=f"{DEVICE} {level.name}") for level in (host, other))


@cache
def programs() -> Programs:
    import opencl  # in tests/, which other folders that use these files need not have

    opencl.provide()
    cache_folder = Path(os.environ.get("EDGERT_CACHE") or Path.home() / ".cache" / "edgert")
    device = choose(DEVICE)
    if HALVES:
        device = halving(device)
    return Programs(Context(device), cache_folder / "opencl")


def run(
    level: Level, name: str, operands: Mapping[str, np.ndarray | None], params: Mapping[str, int | float],
    offsets: Mapping[str, int],
) -> None:  # fmt: skip
    """One record. Only what the row says is written may change, and nothing around it."""
    twin = twins().get(name)
    if twin is None:
        raise NoTwin(f"{name} has no twin")
    # Copies may go back from the addresses that they are given.
    before = {key: reach_back(params, key) if name == COPY else 0 for key in operands}
    given = {key: array for key, array in operands.items() if array is not None}
    views = {key: _bytes(array, offsets.get(key, 0) - before[key]) for key, array in given.items()}
    sizes = {key: view.size - before[key] for key, view in views.items()}
    case = case_of(twin, params, sizes, programs().context.device.capabilities, level.act_signed)
    reason = twin.refuses(case)
    if reason:
        raise NoTwin(f"{name}: {reason}")
    if SMALL:
        _take_some(name, sum(sizes.values()))
    written = [key for key in views if key in twin.writes.split()]
    # Exact twins answer alike with every choice of tiles. Of the others each record takes the next one.
    _calls[name] += 1
    tiles = twin.tiles if twin.exact else (twin.tiles[_calls[name] % len(twin.tiles)],)
    results = []
    for tile in tiles:
        memory = _Memory(programs().context, list(views.values()))
        places = {key: memory.place(views[key], before[key]) if key in views else None for key in operands}
        for command in commands_of(programs(), twin, with_tile(case, tile), places, memory.workspace):
            programs().context.cl.enqueue_nd_range_kernel(memory.queue, command.kernel, command.items, command.group)
        results.append(memory.pull([views[key] for key in written], name))
    for tile, other in zip(tiles, results, strict=True):
        for key, a, b in zip(written, results[0], other, strict=True):
            assert (a == b).all(), f"{name}: {key} with {tile} is not that with {tiles[0]}"
    for key, value in zip(written, results[0], strict=True):
        views[key][...] = value


def _take_some(name: str, nbytes: int) -> None:
    """Skips the test, if this record is not one of those that SMALL lets run."""
    global _taken
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    if nbytes > SMALL:
        raise NoTwin(f"{name}: {nbytes} bytes are more than EDGERT_TEST_SMALL")
    if test == _taken:
        return
    words = re.split(r"[\[\]-]", test)
    key = ("-".join(word for word in words if not re.fullmatch(r"[\d.x]*", word)), name)
    _offers[key] += 1
    count = _offers[key]
    if count & (count - 1) or count.bit_length() % 2 == 0:  # no power of 4
        raise NoTwin(f"{name}: others of this test run")
    _taken = test


def ran() -> set[str]:
    """Names of the twins that have run in this process."""
    return set(_calls)


def _bytes(array: np.ndarray, offset: int) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)[offset:]


def _start(view: np.ndarray) -> int:
    return int(view.__array_interface__["data"][0])


class _Memory:
    """Device buffers for host memory: one for all views that overlap, between guard zones."""

    def __init__(self, context: Context, views: list[np.ndarray]) -> None:
        self.cl, self.queue, self.handle = context.cl, context.queue, context.handle
        self.regions: list[tuple[int, int]] = []
        for start, stop in sorted((_start(v), _start(v) + v.size) for v in views):
            if self.regions and start < self.regions[-1][1]:
                self.regions[-1] = (self.regions[-1][0], max(stop, self.regions[-1][1]))
            else:
                self.regions.append((start, stop))
        self.before = [self._padded(*region) for region in self.regions]
        flags = self.cl.mem_flags.READ_WRITE | self.cl.mem_flags.COPY_HOST_PTR
        self.buffers = [self.cl.Buffer(self.handle, flags, hostbuf=data) for data in self.before]

    def _padded(self, start: int, stop: int) -> np.ndarray:
        data = np.full(stop - start + 2 * GUARD, GUARD_BYTE, np.uint8)
        if stop > start:
            data[GUARD:-GUARD] = np.ctypeslib.as_array((ctypes.c_uint8 * (stop - start)).from_address(start))
        return data

    def place(self, view: np.ndarray, further: int = 0) -> Place:
        """Of what begins `further` bytes after `view` does."""
        start = _start(view)
        index = next(i for i, (low, high) in enumerate(self.regions) if low <= start and start + view.size <= high)
        return Place(self.buffers[index], GUARD + start - self.regions[index][0] + further, view.size - further)

    def workspace(self, nbytes: int) -> Any:
        flags = self.cl.mem_flags.READ_WRITE | self.cl.mem_flags.COPY_HOST_PTR
        return self.cl.Buffer(self.handle, flags, hostbuf=np.full(nbytes, 0xEE, np.uint8))

    def pull(self, written: list[np.ndarray], name: str) -> list[np.ndarray]:
        """The bytes of `written`. Everything else must be as it was."""
        after = [np.empty_like(data) for data in self.before]
        for buffer, data in zip(self.buffers, after, strict=True):
            self.cl.enqueue_copy(self.queue, data, buffer)
        self.queue.finish()
        changed = [a != b for a, b in zip(after, self.before, strict=True)]
        values = []
        for view in written:
            place = self.place(view)
            index = self.buffers.index(place.buffer)
            inside = slice(place.offset, place.offset + place.nbytes)
            values.append(after[index][inside].copy())
            changed[index][inside] = False
        assert not any(mask.any() for mask in changed), f"{name} wrote where it must not"
        return values


def tolerant(exact: Any, close: Any) -> tuple[Any, Any]:
    """assert_array_equal and assert_allclose of NumPy, where floats may differ by RTOL and ATOL."""

    def span(want: Any) -> float:
        finite = np.abs(np.asarray(want, np.float64))
        finite = finite[np.isfinite(finite)]
        return float(finite.max(initial=0.0))

    def equal(got: Any, want: Any, *args: Any, **kwargs: Any) -> None:
        if np.asarray(got).dtype.kind != "f":
            exact(got, want, *args, **kwargs)
        else:
            message = args[0] if args else kwargs.get("err_msg", "")
            close(got, want, rtol=RTOL, atol=ATOL * span(want), err_msg=message)

    def near(got: Any, want: Any, rtol: float = 1e-7, atol: float = 0.0, *args: Any, **kwargs: Any) -> None:
        if np.asarray(got).dtype.kind == "f":
            rtol, atol = max(rtol, RTOL), max(atol, ATOL * span(want))
        close(got, want, rtol, atol, *args, **kwargs)

    return equal, near
