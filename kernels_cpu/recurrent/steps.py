"""What the steps of all recurrent layers share: which sequence a chunk is, the product of a state, copies of states.

Gates lie one after the other, each padded to lines of 16 units: the hidden units of `blocks` lines. Weights are n16k1.
"""

from __future__ import annotations

from edgert.kernels_cpu.elementwise.functions import const
from edgert.kernels_cpu.simd import (
    LANES,
    VECTOR_BYTES,
    f32v,
    helper,
    load_f32v,
    load_i32,
    maximum,
    minimum,
    panel_init,
    panel_step_f32,
    panel_store_f32,
    splat_f32,
    store_f32v,
    store_first_f32v,
)  # fmt: skip

BLOCK = 64 // VECTOR_BYTES
"""Vectors of a line of 16 columns."""
WIDE = max(VECTOR_BYTES // 8, 1)
"""Lines of the widest tile: eight vectors, so that as many chains of fused products hide their latency."""
HALF = max(WIDE // 2, 1)
INFINITY = 3.4028234663852886e38


def _tile(lines):  # type: ignore[no-untyped-def]
    vectors = lines * BLOCK
    init, step, store = panel_init(f32v, 1, vectors), panel_step_f32(1, vectors), panel_store_f32(1, vectors)

    @helper
    def tile(h, start, w, depth, y):  # type: ignore[no-untyped-def]
        acc = init(start)
        for k in range(depth):
            acc = step(acc, h + 4 * k, 0, w + 64 * k, 64 * depth)
        store(acc, splat_f32(-INFINITY), splat_f32(INFINITY), y, 0, 16 * lines)

    return tile


_wide, _half, _line = _tile(WIDE), _tile(HALF), _tile(1)


@helper
def state_product(h, start, w, depth, lines, y):  # type: ignore[no-untyped-def]
    """y = start + h W for `lines` lines of columns: h holds `depth` floats, start and y 16 per line."""
    line = 0
    while lines - line >= WIDE:
        _wide(h, start + 64 * line, w + 64 * depth * line, depth, y + 64 * line)
        line += WIDE
    while lines - line >= HALF:
        _half(h, start + 64 * line, w + 64 * depth * line, depth, y + 64 * line)
        line += HALF
    while line < lines:
        _line(h, start + 64 * line, w + 64 * depth * line, depth, y + 64 * line)
        line += 1


@helper
def begin(source, target, count):  # type: ignore[no-untyped-def]
    """A state as it is before the first step: `count` floats from source, zeros where that is absent."""
    for i in range(0, count, LANES):
        if source != 0:
            store_f32v(target + 4 * i, load_f32v(source + 4 * i))
        else:
            store_f32v(target + 4 * i, const(0.0))


@helper
def copy(source, target, count):  # type: ignore[no-untyped-def]
    for i in range(0, count, LANES):
        store_first_f32v(target + 4 * i, load_f32v(source + 4 * i), count - i)


@helper
def clear(y, first, last, stride, count):  # type: ignore[no-untyped-def]
    """Zeros in the output of steps first .. last - 1, which a shorter sequence does not have."""
    if y != 0:
        for t in range(first, last):
            for i in range(0, count, LANES):
                store_first_f32v(y + t * stride + 4 * i, const(0.0), count - i)


@helper
def length_of(lengths, b, steps):  # type: ignore[no-untyped-def]
    """How many of the steps sequence b has."""
    if lengths == 0:
        return steps
    return max(0, min(steps, load_i32(lengths + 4 * b)))


@helper
def bounded(v, limit):  # type: ignore[no-untyped-def]
    """v within [-limit, limit]; a NaN stays one."""
    return minimum(limit, maximum(const(0.0) - limit, v))
