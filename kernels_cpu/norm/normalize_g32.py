"""LayerNormalization and RMSNormalization of rows straight to g32, for products with grouped weights.

The row that normalize.py would write goes to scratch and is quantized from there: the same bits as both in turn.
"""

from __future__ import annotations

from edgert.kernels_cpu.norm.normalize import scaled_row
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import load_f32, load_i32, load_i64, share, splat_f32
from edgert.kernels_cpu.simd.group_quantize import quantize_row
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("normalize_f32_g32")


def normalize_g32(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of rows. Without `centre` the mean is left in (RMS)."""
    count, centre = load_i32(record + F.count), load_i32(record + F.centre)
    rows, epsilon = present_rows(record + F.rows_at, record + F.rows), splat_f32(load_f32(record + F.epsilon))
    scale, bias = load_i64(record + F.scale), load_i64(record + F.bias)
    for row in range(share(record, rows, chunk), share(record, rows, chunk + 1)):
        x = load_i64(record + F.x) + row * load_i32(record + F.x_row)
        scaled_row(x, count, centre, epsilon, scale, bias, scratch)
        quantize_row(scratch, load_i64(record + F.y) + row * load_i32(record + F.y_row), count)
