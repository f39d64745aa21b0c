"""Softmax and LogSoftmax over the channels of every pixel of kp: pixels are vectors, channels a loop.

Source: ONNX Softmax-13, LogSoftmax-13, axis 1.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const, exp, log
from edgert.kernels_cpu.norm.reduce import larger
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import VECTOR_BYTES, load_f32v, load_i32, load_i64, share, store_f32v, udiv

F = record_fields("softmax_f32_kp")


def softmax_kp(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pixel vectors, counted over the batch; planes are `plane` bytes, whole vectors."""
    channels, plane = load_i32(record + F.channels), load_i32(record + F.plane)
    logarithm = load_i32(record + F.logarithm)
    vectors = udiv(plane, VECTOR_BYTES)
    units = load_i32(record + F.batch) * vectors
    for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
        image = udiv(unit, vectors)
        offset = image * channels * plane + VECTOR_BYTES * (unit - image * vectors)
        x, y = load_i64(record + F.x) + offset, load_i64(record + F.y) + offset
        top = load_f32v(x)
        for c in range(1, channels):
            top = larger(top, load_f32v(x + plane * c))
        total = const(0.0)
        if logarithm != 0:
            for c in range(channels):
                total = total + exp(load_f32v(x + plane * c) - top)
            lost = top + log(total)
            for c in range(channels):
                store_f32v(y + plane * c, load_f32v(x + plane * c) - lost)
        else:
            for c in range(channels):
                e = exp(load_f32v(x + plane * c) - top)
                total = total + e
                store_f32v(y + plane * c, e)
            for c in range(channels):
                store_f32v(y + plane * c, load_f32v(y + plane * c) / total)
