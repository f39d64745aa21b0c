"""Calls one kernel directly, on every ISA level that this machine runs; the table-driven kernel tests stand on it."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.kernels_cpu import jit
from edgert.kernels_cpu.aot import build_library
from edgert.kernels_cpu.levels import LEVELS as ALL_LEVELS
from edgert.kernels_cpu.levels import Level, host_levels
from edgert.kernels_cpu.library import AotLibrary, JitLibrary, KernelLibrary, library_name
from edgert.kernels_cpu.record import pack_record
from edgert.kernels_cpu.registry import kernels

CACHE = Path(os.environ.get("EDGERT_CACHE") or Path.home() / ".cache" / "edgert")
AOT_FOLDER = os.environ.get("EDGERT_TEST_KERNELS", "")
"""A folder of ahead-of-time libraries to test instead of compiling: how the tests run where no compiler is."""
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_COMPILED = tuple(v for v in host_levels() if not AOT_FOLDER or Path(AOT_FOLDER, library_name(v)).exists())
_FOREIGN = tuple(v for v in ALL_LEVELS.values() if v.arch == "aarch64" and v not in host_levels())
ARM_LEVELS = () if AOT_FOLDER else tuple(v for v in _FOREIGN if "i8mm" not in v.features)
DEVICE_LEVELS: tuple[Level, ...] = ()
if os.environ.get("EDGERT_TEST_DEVICE"):
    import twins  # which wants a driver: other folders that use this file need none

    DEVICE_LEVELS = twins.levels()
LEVELS = DEVICE_LEVELS or (*_COMPILED, *ARM_LEVELS)
"""What kernels are tested on: every level this machine runs, and the ARM levels in an emulator. Or an OpenCL device,
see twins.py."""
needs_compiler = pytest.mark.skipif(bool(AOT_FOLDER), reason="compiles kernels, and here is no compiler")
_machines: dict[tuple[str, ...], Any] = {}
_libraries: dict[str, KernelLibrary] = {}
GUARD = 1024
GUARD_BYTE = 0xA5


def library(level: Level) -> KernelLibrary:
    if level.name not in _libraries:
        aot = Path(AOT_FOLDER, library_name(level))
        _libraries[level.name] = AotLibrary(level, aot) if AOT_FOLDER else JitLibrary(level, CACHE)
    return _libraries[level.name]


def machine(level: Level, *names: str) -> Any:
    """An emulated machine with the library of a foreign level that has these kernels."""
    if (level.name, *names) not in _machines:
        from emulator import Arm64

        _machines[level.name, *names] = Arm64(shared_library(level, *names))
    return _machines[level.name, *names]


def shared_library(level: Level, *names: str) -> Path:
    """The ahead-of-time library of these kernels, or of all there are; built once per set of kernel sources."""
    objects = jit.cache_folder(CACHE, level)
    names = names or tuple(name for name, spec in kernels().items() if spec.available(level))
    key = hashlib.sha256(" ".join(jit.object_name(name) for name in ("engine", *names)).encode()).hexdigest()
    path = objects / f"{names[0]}-{len(names)}-{key[:16]}" / library_name(level)
    return path if path.exists() else build_library(level, path.parent, names, objects=objects)


def aligned(nbytes: int, guard: int = GUARD) -> tuple[np.ndarray, np.ndarray]:
    """A 64-byte aligned byte buffer between guard zones: (whole, inside). Reading beyond is allowed, writing not."""
    raw = np.full(nbytes + 2 * guard + 64, GUARD_BYTE, np.uint8)
    start = guard + (-(raw.ctypes.data + guard)) % 64
    return raw, raw[start : start + nbytes]


def place(array: np.ndarray) -> np.ndarray:
    """A 64-byte aligned copy of `array` (keep the returned array alive)."""
    _, inside = aligned(array.nbytes)
    view = inside.view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


class Output:
    """A guarded output buffer of a shape and dtype, filled with a pattern, aligned to 64 bytes."""

    def __init__(self, shape: tuple[int, ...], dtype: object) -> None:
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        self.raw, inside = aligned(nbytes)
        self.array = inside.view(dtype).reshape(shape)
        self._start = inside.__array_interface__["data"][0] - self.raw.__array_interface__["data"][0]
        self._nbytes = nbytes

    def check_guards(self) -> None:
        assert (self.raw[: self._start] == GUARD_BYTE).all(), "kernel wrote before its output"
        assert (self.raw[self._start + self._nbytes :] == GUARD_BYTE).all(), "kernel wrote past its output"


def call_kernel(
    level: Level,
    name: str,
    operands: Mapping[str, np.ndarray | None],
    params: Mapping[str, int | float],
    chunks: int = 1,
    scratch: int = 0,
    order: str = "forward",
    offsets: Mapping[str, int] | None = None,
) -> None:
    """Runs all chunks of one op in this thread, in the given order ('forward' | 'backward'). `offsets` moves an
    operand's address into its buffer."""
    moved = offsets or {}
    if level in DEVICE_LEVELS:
        if chunks:
            twins.run(level, name, operands, params, moved)
        return
    if level in ARM_LEVELS:
        _emulate(level, name, operands, params, chunks, scratch, order, moved)
        return
    lib = library(level)
    lib.prepare([name])
    addresses = {k: 0 if v is None else v.__array_interface__["data"][0] + moved.get(k, 0) for k, v in operands.items()}
    record = place(np.frombuffer(pack_record(name, addresses, params, chunks), np.uint8))
    _, memory = aligned(max(scratch, 64))
    memory[...] = 0xEE
    function = KERNEL(lib.address(name))
    for chunk in range(chunks) if order == "forward" else reversed(range(chunks)):
        function(record.ctypes.data, chunk, memory.__array_interface__["data"][0])


def _emulate(
    level: Level,
    name: str,
    operands: Mapping[str, np.ndarray | None],
    params: Mapping[str, int | float],
    chunks: int,
    scratch: int,
    order: str,
    offsets: Mapping[str, int],
) -> None:
    """The same on an emulated machine; whatever it wrote comes back, and the gaps between buffers must be whole."""
    arm = machine(level, name)
    arm.reset()
    given = {k: v.view(np.uint8).reshape(-1) for k, v in operands.items() if v is not None}
    places = {k: arm.push(v.tobytes()) for k, v in given.items()}
    addresses = {k: places[k] + offsets.get(k, 0) if k in places else 0 for k in operands}
    record = arm.push(pack_record(name, addresses, params, chunks))
    memory = arm.push(b"\xee" * max(scratch, 64))
    function = arm.symbols[f"edgert_k_{name}"]
    for chunk in range(chunks) if order == "forward" else reversed(range(chunks)):
        arm.call(function, record, chunk, memory)
    for key, view in given.items():
        around = arm.pull(places[key] - GUARD, view.size + 2 * GUARD)
        assert (around[:GUARD] == GUARD_BYTE).all(), f"{name} wrote before {key}"
        assert (around[GUARD + view.size :] == GUARD_BYTE).all(), f"{name} wrote past {key}"
        if view.flags.writeable:
            view[...] = around[GUARD : GUARD + view.size]
