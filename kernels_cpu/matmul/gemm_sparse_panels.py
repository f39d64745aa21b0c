"""Filling the panels of gemm_group_panels.walk from blocks of different sizes, one after the other: sparse weights.

"Load as sparse, compute as dense": one compressed copy serves few rows and many. What a block is, kernel files say.
"""

from __future__ import annotations

from edgert.kernels_cpu.matmul.gemm_group_panels import COLUMNS, PANEL_BYTES, F
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import helper, load_i32, load_i64, load_u32, store_i32, udiv

START = record_fields("gemm_rowgroup4_n16k64").start
"""Field of the operand behind those of dense products: uint32, where each row of blocks begins, in UNIT bytes."""
UNIT = 8
ROOM = 1280
"""Bytes of a copy of a block; behind it scratch has for each block of columns where its next pass begins."""


def ragged_blocks(unpack, blocks, panel_unit, room=ROOM, behind=PANEL_BYTES):  # type: ignore[no-untyped-def]
    """What `walk` takes as `weights`, see gemm_group_panels.whole_blocks.

    unpack(w, end, spare, panel) -> the address behind it: the block of 16 columns x one unit at w into a panel. `end`
    is that of all weights; what has to be read beyond it must be copied to `spare` before, which has `room` bytes.
    behind: where in scratch that is, and then the cursors."""
    cursors_at = behind + room

    @helper
    def following(record, block, unit):  # type: ignore[no-untyped-def]
        return 0

    @helper
    def fill(record, block, unit, units, panel):  # type: ignore[no-untyped-def]
        """Beyond the last block it is repeated, and not stored later."""
        w, start, cursors = load_i64(record + F.w), load_i64(record + START), panel + cursors_at
        count = udiv(load_i32(record + F.columns) + COLUMNS - 1, COLUMNS)
        end = w + UNIT * load_u32(start + 4 * count)
        for i in range(blocks):
            begins = start + 4 * min(block + i, count - 1) if unit == 0 else cursors + 4 * (block + i)
            at = w + UNIT * load_u32(begins)
            for u in range(units):
                at = unpack(at, end, panel + behind, panel + 64 * i + panel_unit * u)
            store_i32(cursors + 4 * (block + i), udiv(at - w, UNIT))

    return fill, following
