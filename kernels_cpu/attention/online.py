"""Softmax over keys that come block by block: scores, weights and weighted sums of a tile of query rows.

Source: Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"; Dao 2023, FlashAttention-2. A row
meets blocks of BLOCK positions in order, and ranges of SPLIT positions are merged in order, so its bits depend on
nothing but its own query, keys and values.
"""

from __future__ import annotations

from edgert.kernels_cpu.attention.sizes import BLOCK, GROUP, ROW, SCORE_ROW
from edgert.kernels_cpu.elementwise.functions import const, tanh
from edgert.kernels_cpu.simd import (
    LANES,
    REGISTERS,
    VECTOR_BYTES,
    bits_f32,
    bits_i32,
    broadcast_f32,
    fma,
    helper,
    iota_i32,
    load_f32,
    load_f32v,
    load_i32,
    maximum,
    prefetch,
    reduce_max,
    round_i32,
    select_gt,
    shift_left,
    splat_f32,
    splat_i32,
    store_f32,
    store_f32v,
    to_f32,
)  # fmt: skip
from edgert.kernels_cpu.simd.heads import (
    ELEMENT_BYTES,
    first_f32,
    heads_load,
    heads_step,
    heads_store,
    heads_zero,
    lines_of,
)  # fmt: skip

LOWEST = -3e38
"""Where maxima begin: below any score, and finite, so that differences are numbers."""
MINUS_INFINITY = -(1 << 23)
"""Its bits, as an int32."""
HEIGHTS = (6, 3, 2, 1) if REGISTERS == 32 or VECTOR_BYTES == 32 else (2, 1)
"""Rows of register tiles."""


def _ladder(make, heights):  # type: ignore[no-untyped-def]
    """A function f(row, rows, ...) that covers rows row .. rows-1 with tiles, the tallest first."""
    height, tile = heights[0], make(heights[0])
    if len(heights) == 1:

        @helper
        def last(row, rows, *rest):  # type: ignore[no-untyped-def]
            while row < rows:
                tile(row, *rest)
                row += height

        return last
    others = _ladder(make, heights[1:])

    @helper
    def ladder(row, rows, *rest):  # type: ignore[no-untyped-def]
        while rows - row >= height:
            tile(row, *rest)
            row += height
        others(row, rows, *rest)

    return ladder


def _vectors(rows):  # type: ignore[no-untyped-def]
    """Vectors of a tile of `rows` rows: as many as the registers hold."""
    return 4 if REGISTERS == 32 or rows <= 2 else 2


@helper
def _four_groups(k, stride, last):  # type: ignore[no-untyped-def]
    return k, k + stride * min(1, last), k + stride * min(2, last), k + stride * min(3, last)


@helper
def _two_groups(k, stride, last):  # type: ignore[no-untyped-def]
    return k, k + stride * min(1, last)


@helper
def _one_group(k, stride, last):  # type: ignore[no-untyped-def]
    return (k,)


_GROUPS = {1: _one_group, 2: _two_groups, 4: _four_groups}
"""Lines of a tile -> f(k, stride, last): addresses of groups 0, 1, ... of 16 keys, none behind group `last`."""


AHEAD = BLOCK // GROUP
"""Groups of keys, and BLOCK rows of values, between what is read and what is fetched from memory."""


def _ahead(count):  # type: ignore[no-untyped-def]
    """f(address): fetches `count` bytes, at most two lines, which memory would deliver late."""

    @helper
    def one(address):  # type: ignore[no-untyped-def]
        prefetch(address)

    @helper
    def two(address):  # type: ignore[no-untyped-def]
        prefetch(address)
        prefetch(address + 64)

    return two if count > 64 else one


def scores_of(element):  # type: ignore[no-untyped-def]
    """f(row, rows, q, s, depth, k, k_group, groups): s = q k' of rows row .. rows-1 and `groups` groups of 16 keys."""
    size = GROUP * ELEMENT_BYTES[element]

    def make(rows):  # type: ignore[no-untyped-def]
        vectors = _vectors(rows)
        lines, addresses = lines_of(vectors), _GROUPS[lines_of(vectors)]
        zero, step, store = heads_zero(rows, vectors), heads_step(element, rows, vectors), heads_store(rows, vectors)
        ahead = _ahead(lines * size)

        @helper
        def tile(row, q, s, depth, k, k_group, groups):  # type: ignore[no-untyped-def]
            for group in range(0, groups, lines):
                keys = addresses(k + group * k_group, k_group, groups - 1 - group)
                acc = zero()
                for i in range(depth):
                    ahead(keys[0] + AHEAD * k_group + lines * size * i)
                    acc = step(acc, q + ROW * row + 4 * i, ROW, keys, size * i)
                store(acc, s + SCORE_ROW * row + 4 * GROUP * group, SCORE_ROW)

        return tile

    return _ladder(make, HEIGHTS)


def _weighted_sum(element, rows, vectors):  # type: ignore[no-untyped-def]
    """f(p, count, v, v_row, o, alpha): o = alpha * o + p v of `count` keys and the columns of one tile."""
    load, step, store = heads_load(rows, vectors), heads_step(element, rows, vectors), heads_store(rows, vectors)
    line = GROUP * ELEMENT_BYTES[element]
    addresses, ahead = _GROUPS[lines_of(vectors)], _ahead(vectors * LANES * ELEMENT_BYTES[element])

    @helper
    def columns(p, count, v, v_row, o, alpha):  # type: ignore[no-untyped-def]
        values = addresses(v, line, 3)
        acc = load(o, ROW, alpha, 4)
        for key in range(count):
            ahead(v + v_row * (BLOCK + key))
            acc = step(acc, p + 4 * key, SCORE_ROW, values, v_row * key)
        store(acc, o, ROW)

    return columns


def sums_of(element):  # type: ignore[no-untyped-def]
    """f(row, rows, p, block, ends, v, v_row, o, alpha, depth): o = alpha * o + p v of rows row .. rows-1 and the keys
    of the block that a row sees: those before the position at ends + 4 * row."""
    size = ELEMENT_BYTES[element]

    def make(rows):  # type: ignore[no-untyped-def]
        wide = _vectors(rows)
        narrow = max(1, GROUP // LANES) if wide * LANES > GROUP else wide
        many, few = _weighted_sum(element, rows, wide), _weighted_sum(element, rows, narrow)

        @helper
        def tile(row, p, block, ends, v, v_row, o, alpha, depth):  # type: ignore[no-untyped-def]
            count = max(0, min(BLOCK, load_i32(ends + 4 * (row + rows - 1)) - block))
            p, o, alpha = p + SCORE_ROW * row, o + ROW * row, alpha + 4 * row
            at = 0
            while depth - at >= wide * LANES:
                many(p, count, v + size * at, v_row, o + 4 * at, alpha)
                at += wide * LANES
            while at < depth:
                few(p, count, v + size * at, v_row, o + 4 * at, alpha)
                at += narrow * LANES

        return tile

    return _ladder(make, HEIGHTS)


@helper
def exp2(x):  # type: ignore[no-untyped-def]
    """Within 2e-7 relative of 2**x for x <= 0; 1 at 0, and 0 below -126. A minimax polynomial that begins with 1."""
    whole = round_i32(maximum(const(-126.0), x))
    r = maximum(const(-126.0), x) - to_f32(whole)
    p = fma(const(1.3264727e-3), r, const(9.671513e-3))
    p = fma(p, r, const(5.5507336e-2))
    p = fma(p, r, const(2.4022242e-1))
    p = fma(p, r, const(6.93147e-1))
    y = bits_f32(bits_i32(fma(p, r, const(1.0))) + shift_left(whole, 23))
    return select_gt(const(-126.0), x, const(0.0), y)


def weights_of(element):  # type: ignore[no-untyped-def]
    """f(s, count, first, end, softcap, k_scale, v_scale, top, total, alpha): turns `count` scores of one row, of which
    first .. end-1 are seen, into 2**(score - top), with the row's running maximum, its running sums by lanes, and what
    earlier sums are multiplied by. A soft cap is softcap * tanh(score). Scores and weights are scaled by position where
    the cache is int8."""
    scaled = element == "i8"

    @helper
    def weights(s, count, first, end, softcap, k_scale, v_scale, top, total, alpha):  # type: ignore[no-untyped-def]
        if scaled:
            for i in range(0, 4 * count, VECTOR_BYTES):
                store_f32v(s + i, load_f32v(s + i) * load_f32v(k_scale + i))
        if softcap > 0:
            for i in range(0, 4 * count, VECTOR_BYTES):
                store_f32v(s + i, splat_f32(softcap) * tanh(load_f32v(s + i)))
        if first > 0 or end < count:
            hidden, low, high = bits_f32(splat_i32(MINUS_INFINITY)), splat_i32(first - 1), splat_i32(end)
            for i in range(0, count, LANES):
                at = iota_i32() + splat_i32(i)
                x = select_gt(at, low, load_f32v(s + 4 * i), hidden)
                store_f32v(s + 4 * i, select_gt(high, at, x, hidden))
        largest = const(LOWEST)
        for i in range(0, 4 * count, VECTOR_BYTES):
            largest = maximum(load_f32v(s + i), largest)
        old = load_f32(top)
        new = max(old, reduce_max(largest))
        sums, factor = load_f32v(total), exp2(splat_f32(old - new))
        sums = sums * factor
        store_f32(top, new)
        store_f32(alpha, first_f32(factor))
        shift = splat_f32(new)
        for i in range(0, 4 * count, VECTOR_BYTES):
            x = exp2(load_f32v(s + i) - shift)
            sums = sums + x
            if scaled:
                x = x * load_f32v(v_scale + i)
            store_f32v(s + i, x)
        store_f32v(total, sums)

    return weights


@helper
def first_seen(position, window):  # type: ignore[no-untyped-def]
    """The first position that a query at `position` sees; window 0 is all."""
    return max(0, position + 1 - window) if window > 0 else 0


@helper
def clear(y, count):  # type: ignore[no-untyped-def]
    """Sets `count` floats to zero, whole vectors of them."""
    for i in range(0, count, LANES):
        store_f32v(y + 4 * i, const(0.0))


@helper
def merge(y, top, total, x, x_top, x_total, depth):  # type: ignore[no-untyped-def]
    """Adds sums x of weights relative to x_top, which sum to x_total, to sums y relative to `top`, which sum to
    `total`; the floats at top and total are updated."""
    old, other = broadcast_f32(top), splat_f32(x_top)
    new = maximum(other, old)
    a, b = exp2(old - new), exp2(other - new)
    for i in range(0, depth, LANES):
        store_f32v(y + 4 * i, load_f32v(y + 4 * i) * a + load_f32v(x + 4 * i) * b)
    store_f32(top, first_f32(new))
    store_f32(total, first_f32(broadcast_f32(total) * a + splat_f32(x_total) * b))


@helper
def divide(x, total, y, depth):  # type: ignore[no-untyped-def]
    """y = x / the float at `total`, `depth` floats."""
    inverse = const(1.0) / broadcast_f32(total)
    for i in range(0, depth, LANES):
        store_f32v(y + 4 * i, load_f32v(x + 4 * i) * inverse)
