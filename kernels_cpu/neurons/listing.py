"""The list of active neurons, for the products that compute these alone and for what reads them from storage.

A list is an int32 that says how many, zeros up to 64 bytes, then the numbers as int32.
"""

from __future__ import annotations

from edgert.kernels_cpu.neurons import LISTED
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import load_i32, load_i64, store_i32

F = record_fields("neurons_list_f32")


def neurons_list(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """One chunk: each neuron's place follows from those before. Every number is stored, and kept if it counts."""
    marks, listed, width = load_i64(record + F.any), load_i64(record + F.listed), load_i32(record + F.width)
    count = 0
    for i in range(width):
        store_i32(listed + LISTED + 4 * count, i)
        # the bits of a float that is not 0, a NaN as well; no mark is -0
        count += 1 if load_i32(marks + 4 * i) != 0 else 0
    store_i32(listed, count)
