"""Attention of the query rows of a run to all keys they may see, without a matrix of scores.

Query rows are those of all heads that share a kv head, row by row of the run, cut into tiles of `tile_rows`. Where
there are too few tiles for the threads, `split` is set: ranges of SPLIT positions are summed apart and merge.py adds
them, in the order in which they are added here otherwise, so the bits are the same.
"""

from __future__ import annotations

from edgert.kernels_cpu.attention.head import angles_at, first_position, prepare
from edgert.kernels_cpu.attention.online import (
    LOWEST,
    clear,
    divide,
    first_seen,
    merge,
    scores_of,
    sums_of,
    weights_of,
)  # fmt: skip
from edgert.kernels_cpu.attention.sizes import BLOCK, GROUP, ROW, SCORE_ROW, SPLIT, SUM_ROW, TAIL
from edgert.kernels_cpu.elementwise.functions import const
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import (
    LANES,
    helper,
    load_f32,
    load_f32v,
    load_i32,
    load_i64,
    reduce_add,
    share,
    store_f32,
    store_f32v,
    store_i32,
    udiv,
    urem,
)  # fmt: skip
from edgert.kernels_cpu.simd.rows import present_rows

F = record_fields("attention_f32_kvf16")


@helper
def last_seen(record, position, present):  # type: ignore[no-untyped-def]
    """One more than the last of `present` positions that a query at `position` sees."""
    return position + 1 if load_i32(record + F.causal) != 0 else present


def _attention(element):  # type: ignore[no-untyped-def]
    scores, sums, weights = scores_of(element), sums_of(element), weights_of(element)

    @helper
    def load_queries(record, past, present, kv_head, row, count, q, ends, starts, angles):  # type: ignore[no-untyped-def]
        """Makes `count` query rows from `row` ready at q, and says what each may see."""
        group, depth, rotary = load_i32(record + F.group), load_i32(record + F.depth), load_i32(record + F.rotary)
        ready = -1
        for r in range(count):
            t = udiv(row + r, group)
            if rotary != 0 and t != ready:
                table, fine = load_i64(record + F.table), load_i32(record + F.fine)
                angles_at(past + t, table, fine, load_i32(record + F.half), angles)
                ready = t
            head = group * kv_head + row + r - group * t
            prepare(
                load_i64(record + F.x) + t * load_i32(record + F.x_row) + 4 * depth * head, q + ROW * r, depth,
                load_i64(record + F.norm), load_f32(record + F.epsilon), load_f32(record + F.scale), angles, rotary,
                load_i32(record + F.half),
            )  # fmt: skip
            store_i32(starts + 4 * r, first_seen(past + t, load_i32(record + F.window)))
            store_i32(ends + 4 * r, last_seen(record, past + t, present))

    @helper
    def add_range(record, kv_head, count, low, high, q, s, o, ends, starts, tops, alphas, totals):  # type: ignore[no-untyped-def]
        """Sums of `count` rows over the blocks of positions low .. high-1: maxima, totals by lanes, and outputs."""
        depth = load_i32(record + F.depth)
        k = load_i64(record + F.key) + load_i32(record + F.key_head) * kv_head
        v = load_i64(record + F.value) + load_i32(record + F.value_head) * kv_head
        scales = load_i32(record + F.scales) + load_i32(record + F.scale_head) * kv_head
        k_scales, v_scales = load_i64(record + F.key) + scales, load_i64(record + F.value) + scales
        key_group, value_row = load_i32(record + F.key_group), load_i32(record + F.value_row)
        for r in range(count):
            clear(o + ROW * r, depth)
            store_f32(tops + 4 * r, LOWEST)
            store_f32v(totals + SUM_ROW * r, const(0.0))
        for block in range(low, high, BLOCK):
            groups = udiv(min(high - block, BLOCK) + GROUP - 1, GROUP)
            scores(0, count, q, s, depth, k + key_group * udiv(block, GROUP), key_group, groups)
            for r in range(count):
                weights(
                    s + SCORE_ROW * r, GROUP * groups, load_i32(starts + 4 * r) - block, load_i32(ends + 4 * r) - block,
                    load_f32(record + F.softcap), k_scales + 4 * block, v_scales + 4 * block,
                    tops + 4 * r, totals + SUM_ROW * r, alphas + 4 * r,
                )  # fmt: skip
            sums(0, count, s, block, ends, v + value_row * block, value_row, o, alphas, depth)

    @helper
    def store_partial(record, row, count, o, tops, totals):  # type: ignore[no-untyped-def]
        """Sums of `count` rows over one range of positions, as merge.py reads them."""
        depth = load_i32(record + F.depth)
        y = load_i64(record + F.y) + (4 * depth + TAIL) * row
        for r in range(count):
            for i in range(0, depth, LANES):
                store_f32v(y + 4 * i, load_f32v(o + ROW * r + 4 * i))
            store_f32(y + 4 * depth, load_f32(tops + 4 * r))
            store_f32(y + 4 * depth + 4, reduce_add(load_f32v(totals + SUM_ROW * r)))
            y += 4 * depth + TAIL

    def attention(record, chunk, scratch):  # type: ignore[no-untyped-def]
        """A chunk is a range of tiles of each kv head, the last tiles first, or of ranges of positions of those."""
        rows = present_rows(record + F.rows_at, record + F.rows)
        past = first_position(load_i64(record + F.positions))
        if rows == 0 or past < 0 or past + rows > load_i32(record + F.context):
            return
        present, split = past + rows, load_i32(record + F.split)
        group, depth, tile_rows = load_i32(record + F.group), load_i32(record + F.depth), load_i32(record + F.tile_rows)
        tiles = udiv(rows * group + tile_rows - 1, tile_rows)
        low = udiv(first_seen(past, load_i32(record + F.window)), SPLIT)
        splits = udiv(present - 1, SPLIT) + 1 - low if split != 0 else 1
        q = scratch
        o, a = q + ROW * tile_rows, q + 2 * ROW * tile_rows
        s = q + 3 * ROW * tile_rows
        totals = s + SCORE_ROW * tile_rows
        tops = totals + SUM_ROW * tile_rows
        alphas, ends, starts = tops + 4 * tile_rows, tops + 8 * tile_rows, tops + 12 * tile_rows
        all_tops, all_totals, angles = tops + 16 * tile_rows, tops + 20 * tile_rows, tops + 24 * tile_rows
        units = load_i32(record + F.kv_heads) * tiles * splits
        for unit in range(share(record, units, chunk), share(record, units, chunk + 1)):
            kv_head = udiv(unit, tiles * splits)
            part = unit - tiles * splits * kv_head
            tile = tiles - 1 - udiv(part, splits)
            row = tile * tile_rows
            count = min(tile_rows, rows * group - row)
            load_queries(record, past, present, kv_head, row, count, q, ends, starts, angles)
            begin, end = load_i32(starts), load_i32(ends + 4 * (count - 1))
            number, stop = udiv(begin, SPLIT), udiv(end - 1, SPLIT) + 1
            if split != 0:
                number = low + urem(part, splits)
                stop = number + 1
            for r in range(count):
                clear(a + ROW * r, depth)
                store_f32(all_tops + 4 * r, LOWEST)
                store_f32(all_totals + 4 * r, 0.0)
            for current in range(number, stop):
                first, last = max(SPLIT * current, begin - urem(begin, BLOCK)), min(SPLIT * (current + 1), end)
                add_range(record, kv_head, count, first, last, q, s, o, ends, starts, tops, alphas, totals)
                for r in range(count):
                    top, total = load_f32(tops + 4 * r), reduce_add(load_f32v(totals + SUM_ROW * r))
                    merge(a + ROW * r, all_tops + 4 * r, all_totals + 4 * r, o + ROW * r, top, total, depth)
            if split != 0:
                at = (load_i32(record + F.kv_heads) * (number - low) + kv_head) * load_i32(record + F.rows) * group
                store_partial(record, at + row, count, o, tops, totals)
            else:
                for r in range(count):
                    t = udiv(row + r, group)
                    head = group * kv_head + row + r - group * t
                    y = load_i64(record + F.y) + load_i32(record + F.y_row) * t + 4 * depth * head
                    divide(a + ROW * r, all_totals + 4 * r, y, depth)

    return attention


attention_f32, attention_f16, attention_i8 = _attention("f32"), _attention("f16"), _attention("i8")
