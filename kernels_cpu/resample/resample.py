"""Resize of floats along one axis: every place is a weighted sum of `taps` places. Row and kp alike.

Which places and weights these are is what kernels_cpu/reference/resize.py says; two axes are two ops.
"""

from __future__ import annotations

from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    broadcast_f32,
    fma,
    load_f32v,
    load_i32,
    load_i32v,
    load_i64,
    share,
    splat_f32,
    store_first_f32v,
    udiv,
)  # fmt: skip
from edgert.kernels_cpu.simd.gather import gather_f32

R = record_fields("resample_rows_f32")
C = record_fields("resample_columns_f32")


def resample_rows(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of the `out` rows of all `outer` parts; a row has `count` floats. offsets (bytes) and
    weights are [out][pitch], of which `taps` count."""
    out, count, taps, pitch = (
        load_i32(record + R.out), load_i32(record + R.count), load_i32(record + R.taps), load_i32(record + R.pitch)
    )  # fmt: skip
    offsets, weights = load_i64(record + R.offsets), load_i64(record + R.weights)
    units = load_i32(record + R.outer) * out
    for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
        part = udiv(unit, out)
        row = unit - part * out
        x = load_i64(record + R.x) + part * load_i32(record + R.x_outer)
        y = load_i64(record + R.y) + part * load_i32(record + R.y_outer) + row * load_i32(record + R.y_row)
        table = 4 * pitch * row
        for i in range(0, count, LANES):
            total = splat_f32(0.0)
            for tap in range(taps):
                value = load_f32v(x + load_i32(offsets + table + 4 * tap) + 4 * i)
                total = fma(value, broadcast_f32(weights + table + 4 * tap), total)
            store_first_f32v(y + 4 * i, total, count - i)


def resample_columns(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of the `count` rows of all `outer` parts; each gets `out` floats. offsets (bytes) and
    weights are [taps][pitch], of which `out` count."""
    out, count, taps = load_i32(record + C.out), load_i32(record + C.count), load_i32(record + C.taps)
    pitch = 4 * load_i32(record + C.pitch)
    offsets, weights = load_i64(record + C.offsets), load_i64(record + C.weights)
    units = load_i32(record + C.outer) * count
    for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
        part = udiv(unit, count)
        row = unit - part * count
        x = load_i64(record + C.x) + part * load_i32(record + C.x_outer) + row * load_i32(record + C.x_row)
        y = load_i64(record + C.y) + part * load_i32(record + C.y_outer) + row * load_i32(record + C.y_row)
        for i in range(0, 4 * out, VECTOR_BYTES):
            total = splat_f32(0.0)
            for tap in range(taps):
                value = gather_f32(x, load_i32v(offsets + tap * pitch + i))
                total = fma(value, load_f32v(weights + tap * pitch + i), total)
            store_first_f32v(y + i, total, out - udiv(i, 4))
