"""The loop that hands commands to an OpenCL driver, here with functions of the test in the place of a driver's."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np
import pytest
from harness import KERNEL, LEVELS, library, needs_compiler, shared_library

from edgert.kernels_cpu.commands import COMMAND_GROUP, COMMAND_ITEMS, COMMAND_KERNEL, COMMAND_WORDS, KERNELS
from edgert.kernels_cpu.levels import LEVELS as ALL_LEVELS
from edgert.kernels_cpu.levels import host_levels
from edgert.kernels_cpu.library import AotLibrary, KernelLibrary
from edgert.kernels_cpu.record import pack_record

NAME = "enqueue_commands"
POINTER, UINT = ctypes.c_void_p, ctypes.c_uint
ENQUEUE = ctypes.CFUNCTYPE(ctypes.c_int, POINTER, POINTER, UINT, *[POINTER] * 3, UINT, *[POINTER] * 2)
FLUSH = ctypes.CFUNCTYPE(ctypes.c_int, POINTER)
HIGH = 0x7F0000000000 if sys.maxsize > 1 << 32 else 0
QUEUE = HIGH + 0x12345678


class Driver:
    """Answers with `codes`, one after the other, and keeps what it was asked."""

    def __init__(self, codes: dict[int, int], flushed: int = 0) -> None:
        self.codes, self.flushed = codes, flushed
        self.calls: list[tuple[Any, ...]] = []
        self.functions = (ENQUEUE(self.enqueue), FLUSH(self.flush))

    def enqueue(
        self, queue: int, kernel: int, dimensions: int, offset: int | None, items: int, group: int, count: int,
        events: int | None, event: int | None,
    ) -> int:  # fmt: skip
        assert (offset, count, events, event) == (None, 0, None, None)
        sizes = [list((ctypes.c_size_t * dimensions).from_address(at)) for at in (items, group)]
        self.calls.append((queue, kernel, *sizes))
        return self.codes.get(len(self.calls) - 1, 0)

    def flush(self, queue: int) -> int:
        self.calls.append((queue, "flush"))
        return self.flushed


def replay(lib: KernelLibrary, driver: Driver, commands: list[tuple[int, list[int], list[int]]]) -> list[int]:
    words = np.zeros((len(commands), COMMAND_WORDS), np.uintp)
    for row, (kernel, items, group) in zip(words, commands, strict=True):
        row[COMMAND_KERNEL], row[COMMAND_KERNEL + 1] = kernel, len(items)
        row[COMMAND_ITEMS : COMMAND_ITEMS + len(items)] = items
        row[COMMAND_GROUP : COMMAND_GROUP + len(group)] = group
    done = np.full(2, 99, np.int64)
    enqueue, flush = (ctypes.cast(function, POINTER).value or 0 for function in driver.functions)
    addresses = {
        "commands": words.ctypes.data, "queue": QUEUE, "enqueue": enqueue, "flush": flush, "done": done.ctypes.data
    }  # fmt: skip
    record = np.frombuffer(pack_record(NAME, addresses, {"count": len(commands)}, 1), np.uint8)
    lib.prepare([NAME])
    KERNEL(lib.address(NAME))(record.ctypes.data, 0, 0)
    return done.tolist()


COMMANDS = [(HIGH + 0xAAAA0000 + i, [64 * (i + 1), 2, 3][: i % 3 + 1], [64, 1, 1][: i % 3 + 1]) for i in range(7)]
ASKED = [(QUEUE, kernel, items, group) for kernel, items, group in COMMANDS]


@pytest.fixture(params=[v for v in LEVELS if v in host_levels()], ids=lambda level: level.name)
def lib(request: pytest.FixtureRequest) -> KernelLibrary:
    return library(request.param)


def test_all_in_their_order_and_a_flush(lib: KernelLibrary) -> None:
    driver = Driver({})
    assert replay(lib, driver, COMMANDS) == [7, 0]
    assert driver.calls == [*ASKED, (QUEUE, "flush")]


@pytest.mark.parametrize("fails", [0, 3, 6])
def test_nothing_after_a_command_that_is_refused(lib: KernelLibrary, fails: int) -> None:
    driver = Driver({fails: -54})
    assert replay(lib, driver, COMMANDS) == [fails, -54]
    assert driver.calls == ASKED[: fails + 1]


def test_a_flush_that_fails(lib: KernelLibrary) -> None:
    assert replay(lib, Driver({}, flushed=-36), COMMANDS[:2]) == [2, -36]


def test_no_commands(lib: KernelLibrary) -> None:
    driver = Driver({})
    assert replay(lib, driver, []) == [0, 0]
    assert driver.calls == [(QUEUE, "flush")]


@needs_compiler
def test_libraries_ahead_of_time_have_it() -> None:
    level, driver = host_levels()[0], Driver({})
    assert replay(AotLibrary(level, shared_library(level, NAME)), driver, COMMANDS) == [7, 0]
    assert driver.calls == [*ASKED, (QUEUE, "flush")]


def test_wherever_there_are_drivers() -> None:
    (spec,) = KERNELS
    assert {name for name, level in ALL_LEVELS.items() if not spec.available(level)} == {"wasm32-simd128"}
