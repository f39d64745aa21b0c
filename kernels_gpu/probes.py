"""What is measured of a device before any plan: whether its integer dot product pays, what changing sides takes.

Measuring is measure.py; what is measured of single ops, tune.py.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from edgert.kernels_cpu.registry import kernels
from edgert.kernels_gpu.choices import Choices
from edgert.kernels_gpu.context import Context, translated
from edgert.kernels_gpu.device import Capabilities, DeviceInfo
from edgert.kernels_gpu.launch import Place, commands_of
from edgert.kernels_gpu.measure import best_times
from edgert.kernels_gpu.memory import AROUND, Mirror
from edgert.kernels_gpu.programs import Programs, source_of
from edgert.kernels_gpu.sequence import Sequence
from edgert.kernels_gpu.table import Case, case_of, twins

PROBE = "conv2d_q8_k4p"
"""The kernel that says whether the instruction pays: products of bytes as networks have them. What is unpacked once for
many products is what decides: a loop of nothing but dot products takes the same with the instruction and without."""
SIDE, CHANNELS = 28, 64
"""Pixels of a row and rows, channels before and after: 3.2 million products."""
PAYS = 0.9
"""What the products must take with the instruction, of their time without: drivers that take it apart need twice as
long and more, so that noise decides nothing."""
CROSSED = 1 << 22
"""Bytes that are handed over to learn what a byte takes."""
TRIPS = 12
"""Times that they are; the best counts."""


def settle(context: Context, programs: Programs, choices: Choices) -> None:
    """Makes the context's device say that it has no integer dot product, if the instruction does not pay: there are
    drivers that say they have it, and take it apart. Raises KernelError, DeviceError."""
    device = context.device
    if not device.capabilities.integer_dot:
        return
    key = _dot_key(device.capabilities)
    if key not in choices:
        forms = [_sequence(context, programs, case) for case in _cases(device.capabilities)]
        with_it, without = best_times(forms).us
        choices.put(key, int(with_it < PAYS * without))
    if not choices.get(key):
        context.device = replace(device, capabilities=replace(device.capabilities, integer_dot=False))


def integer_dot_pays(device: DeviceInfo, choices: Choices) -> bool | None:
    """What settle() has found, None where it has not measured yet or there is no such instruction."""
    if not device.capabilities.integer_dot:
        return None
    found = choices.get(_dot_key(device.capabilities))
    return None if found is None else bool(found)


def crossing(context: Context, choices: Choices) -> tuple[float, float]:
    """(microseconds that the host waits until an enqueued command is done and its bytes are there, microseconds per
    byte that is copied there or back). Raises DeviceError."""
    wait, byte = choices.get("ns-wait"), choices.get("ps-byte")
    if wait is None or byte is None:
        small, large = _round_trips(context, (64, CROSSED))
        wait, byte = int(1e9 * small), max(0, int(1e12 * (large - small) / CROSSED / 2))
        choices.put("ns-wait", wait)
        choices.put("ps-byte", byte)
    return wait / 1e3, byte / 1e6


def _round_trips(context: Context, sizes: tuple[int, ...]) -> list[float]:
    """Seconds to hand so many bytes over, there and back, at best: one size after the other, in turn."""
    mirrors = [Mirror(context, nbytes, "memory for measuring") for nbytes in sizes]
    best = [float("inf")] * len(sizes)
    for _ in range(TRIPS):
        for index, mirror in enumerate(mirrors):
            start = time.perf_counter()
            mirror.to_host([(0, mirror.nbytes)])
            mirror.to_device([(0, mirror.nbytes)])
            context.finish()
            best[index] = min(best[index], time.perf_counter() - start)
    return best


def _cases(can: Capabilities) -> list[Case]:
    """The probe with the instruction and without."""
    plane = 4 * SIDE * SIDE
    blocks = CHANNELS // 4
    params: dict[str, int | float] = dict.fromkeys(kernels()[PROBE].params.split(), 0)
    params |= {
        "groups4": blocks, "blocks": blocks, "vectors": SIDE * SIDE, "per_row": SIDE * SIDE, "row_bytes": plane,
        "x_batch": plane * blocks, "y_batch": plane * blocks, "y_plane": plane, "low": 0, "high": 255,
        "residual_scale": 0.0,
    }  # fmt: skip
    nbytes = {
        "x": plane * blocks, "taps": 4 * blocks, "w": CHANNELS * CHANNELS, "bias": 4 * CHANNELS, "scale": 4 * CHANNELS,
        "y": plane * blocks,
    }  # fmt: skip
    return [case_of(twins()[PROBE], params, nbytes, form, False) for form in (can, replace(can, integer_dot=False))]


def _sequence(context: Context, programs: Programs, case: Case) -> Sequence:
    """The probe on memory of zeros."""
    place = partial(_zeros, context)
    places: Mapping[str, Place | None] = {
        name: place(case.nbytes[name]) if case.has(name) else None for name in kernels()[PROBE].operands.split()
    }
    return Sequence(context, commands_of(programs, twins()[PROBE], case, places))


def _zeros(context: Context, nbytes: int) -> Place:
    cl, size = context.cl, nbytes + AROUND
    with translated(context.device, "memory for measuring was made"):
        buffer = cl.Buffer(context.handle, cl.mem_flags.READ_WRITE, size)
        cl.enqueue_fill_buffer(context.queue, buffer, np.zeros(1, np.int32), 0, size // 4 * 4)
    return Place(buffer, 0, nbytes)


def _dot_key(can: Capabilities) -> str:
    text = "".join(source_of(twins()[PROBE], case) for case in _cases(can))
    return f"integer_dot-{hashlib.sha256(f'{SIDE} {CHANNELS} {PAYS}{text}'.encode()).hexdigest()[:24]}"
