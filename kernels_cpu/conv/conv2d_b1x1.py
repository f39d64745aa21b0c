"""float32 convolution over channel planes (kp) that skips single weights: any pattern of zeros.

Output channels go in pairs: the inputs that both have share their loads, then come those of the first alone, then of
the second. A sum takes its shared products first, so its last bits may differ from those of the dense kernel.
"""

from __future__ import annotations

from edgert.kernels_cpu.conv.float_rows import row_store
from edgert.kernels_cpu.conv.sparse_f32 import AHEAD, WIDE2, F, run_step, sparse_convolution
from edgert.kernels_cpu.simd import f32v, helper, load_i32, load_i64, load_u16, prefetch, tile_init, tile_step

START = 16
"""Bytes of `start` for a pair: its first block of both channels, of the first alone, of the second alone, and the
first of its weights."""


def _pair(columns):  # type: ignore[no-untyped-def]
    init, step, run = tile_init(f32v, 1, columns), tile_step(f32v, 1, columns), run_step(1, columns)
    finish = row_store(F, 1, columns)

    @helper
    def pair(record, g, count, v, inputs, pixel, outputs, y, residual, scratch):  # type: ignore[no-untyped-def]
        start, taps = load_i64(record + F.start) + START * g, load_i64(record + F.taps)
        both, first, second = load_i32(start), load_i32(start + 4), load_i32(start + 8)
        index = load_i64(record + F.index) + 2 * both
        w, bias = load_i64(record + F.w) + 4 * load_i32(start + 12), load_i64(record + F.bias) + 8 * g
        a, b = init(bias), init(bias + 4)
        for _ in range(first - both):
            prefetch(w + AHEAD)
            tap = load_i32(taps + 4 * load_u16(index))
            a = step(a, inputs, tap, w)
            b = step(b, inputs, tap, w + 4)
            w += 8
            index += 2
        a = run(a, inputs, taps, index, second - first, w, 4)
        finish(record, a, 2 * g, v, outputs, y, residual, scratch)
        if count == 2:
            last, alone = load_i32(start + START), second - first
            b = run(b, inputs, taps, index + 2 * alone, last - second, w + 4 * alone, 4)
            finish(record, b, 2 * g + 1, v, outputs, y, residual, scratch)

    return pair


_run = sparse_convolution(_pair, 2, WIDE2)


def conv2d_b1x1(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pixel vectors of one image and a slice of the pairs of output channels."""
    _run(record, chunk, scratch)
