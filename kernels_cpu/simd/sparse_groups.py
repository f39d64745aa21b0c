"""Groups of 4-bit weights of which only some rows are kept, against g32 rows; and unpacked to a panel for many rows.

Import from here, not through the package. Blocks are those of the encodings group4 and rowgroup4 (docs/format.md).
The arithmetic of a kept row is that of q4 (groups.py); one that is not kept has the scale 0, as in the dense twin.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.group_panel import PITCH, group_bytes
from edgert.kernels_cpu.simd.groups import LINE, Q4, QUADS, VECTORS, at, emit_dot_group, emit_fma, emit_load_quads
from edgert.kernels_cpu.simd.half import emit_load_half
from edgert.kernels_cpu.simd.spread import Place, emit_places, emit_popcount, emit_take, emit_take_kept
from edgert.kernels_cpu.simd.target import LANES
from edgert.kernels_cpu.simd.types import F32, I32, I64, VB, const, f32v, i8v, i32v, pointer, splat

KEPT = 16
"""Rows of a group of group4 that are kept."""
HALVES = 2
"""Blocks of 16 rows in one of group4."""


def _load(b: Any, address: Any, t: Any) -> Any:
    return b.load(pointer(b, address, t), align=1)


class _Row:
    """What a group of 32 k takes of a row of x: its quads, its scale and its sum, repeated over vectors."""

    def __init__(self, b: Any, start: Any, value: Any, scale: Any, total: Any) -> None:
        self.quads = emit_load_quads(b, b.add(start, value))
        self.scale = splat(b, _load(b, b.add(start, scale), F32), f32v.llvm)
        self.total = splat(b, _load(b, b.add(start, total), I32), i32v.llvm)


def _dots(b: Any, lines: list[Any], rows: list[_Row]) -> list[Any]:
    """Exact dot products as floats, one vector for each row of x."""
    found = emit_dot_group(b, Q4, lines, [row.quads for row in rows], [row.total for row in rows])
    return [b.sitofp(dots, f32v.llvm) for dots in found]


def _step(rows: int, vectors: int, body: Any) -> Any:
    """An intrinsic `step(acc, x, value, scale, total, mask, words, factors)`: one group of `rows` g32 rows against the
    kept rows of weights, added to acc[r * vectors + v]. x is a tuple of the rows' addresses (row_starts); value, scale
    and total are offsets in a row of the group's int8, of its scale and of its sum; words and factors the addresses of
    the group's words and of its float16 scales. body(b, acc, x, mask, words, factors) emits it."""
    kind, addresses = types.UniTuple(f32v, rows * vectors), types.UniTuple(types.int64, rows)

    @intrinsic
    def step(
        tyctx: Any, acc: Any, x: Any, value: Any, scale: Any, total: Any, mask: Any, words: Any, factors: Any
    ) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, value, scale, total, mask, words, factors = args
            values = cgutils.unpack_tuple(b, acc)
            given = [_Row(b, start, value, scale, total) for start in cgutils.unpack_tuple(b, x)]
            body(b, values, given, mask, words, factors)
            return cgutils.pack_array(b, values)

        i = types.int64
        return kind(kind, addresses, i, i, i, i, i, i), codegen

    return step


def balanced_step(rows: int) -> Any:
    """`step` of `_step` for group4: mask has 32 bits, 16 of them set. The 16 kept rows are met in as many lanes, and
    what comes out goes to the 32 sums."""
    vectors = HALVES * VECTORS

    def body(b: Any, acc: list[Any], x: list[_Row], mask: Any, words: Any, factors: Any) -> None:
        dots: list[list[Any]] = [[] for _ in x]
        packed = []
        for v in range(VECTORS):
            lines = [_load(b, at(b, words, LINE * j + VB * v), i8v.llvm) for j in range(Q4.lines)]
            for row, found in zip(dots, _dots(b, lines, x), strict=True):
                row.append(found)
            packed.append(emit_load_half(b, at(b, factors, VB // 2 * v), LANES))
        for v, place in enumerate(emit_places(b, mask, vectors, ir.Constant(I64, 0))):
            factor = emit_take_kept(b, packed, place)
            for r, row in enumerate(x):
                i = r * vectors + v
                acc[i] = emit_fma(b, emit_take(b, dots[r], place), b.fmul(factor, row.scale), acc[i])

    return _step(rows, vectors, body)


def _ragged_line(b: Any, mask: Any) -> Any:
    """Bytes of a line of rowgroup4: a word for each kept row."""
    return b.shl(emit_popcount(b, mask), ir.Constant(I64, 2))


def _spread_lines(b: Any, words: Any, step: Any, place: Place) -> list[Any]:
    """The four lines of a group for the lanes of one vector; packed words of a line are `step` bytes apart."""
    first = b.add(words, b.shl(place.before, ir.Constant(I64, 2)))
    lines = []
    for _ in range(Q4.lines):
        lines.append(b.bitcast(emit_take(b, [_load(b, first, i32v.llvm)], place), i8v.llvm))
        first = b.add(first, step)
    return lines


def _spread_factor(b: Any, factors: Any, place: Place) -> Any:
    """The scales of a group for the lanes of one vector, 0 where a row is not kept."""
    own = b.add(factors, b.shl(place.before, ir.Constant(I64, 1)))
    return emit_take_kept(b, [emit_load_half(b, own, LANES)], place)


def ragged_step(rows: int) -> Any:
    """`step` of `_step` for rowgroup4: mask has 16 bits, of which any may be set. Reads up to 64 bytes more than the
    words and the scales."""

    def body(b: Any, acc: list[Any], x: list[_Row], mask: Any, words: Any, factors: Any) -> None:
        step = _ragged_line(b, mask)
        for v, place in enumerate(emit_places(b, mask, VECTORS)):
            dots = _dots(b, _spread_lines(b, words, step, place), x)
            factor = _spread_factor(b, factors, place)
            for r, row in enumerate(x):
                i = r * VECTORS + v
                acc[i] = emit_fma(b, dots[r], b.fmul(factor, row.scale), acc[i])

    return _step(rows, VECTORS, body)


# ---- for many rows: a group of a panel of q4, see group_panel.py
def _store_group(b: Any, v: int, more: int, lines: list[Any], factor: Any, panel: Any) -> None:
    """Vector v of the lines and of the scales of a group; bytes become number - zero + more."""
    for j, line in enumerate(lines):
        for high, half in enumerate((b.and_(line, const(line.type, 15)), b.lshr(line, const(line.type, 4)))):
            place = at(b, panel, PITCH * (Q4.lines * high + j) + VB * v)
            b.store(b.sub(half, const(half.type, Q4.zero - more)), pointer(b, place, half.type), align=1)
    b.store(factor, pointer(b, at(b, panel, PITCH * QUADS + VB * v), factor.type), align=1)


def balanced_unpack(more: int) -> Any:
    """An intrinsic `unpack(mask, first, words, factors, panel)`: 16 of the 32 rows of a group of group4 become a group
    of a panel, whose bytes are number - zero + more (group_panel.excess, or 0); rows that are not kept have the scale
    0. mask has the bits of these rows, the first of which to be kept is the `first` kept one of the group."""

    @intrinsic
    def unpack(tyctx: Any, mask: Any, first: Any, words: Any, factors: Any, panel: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            mask, first, words, factors, panel = args
            parts = range(VECTORS)
            packed = [emit_load_half(b, at(b, factors, VB // 2 * v), LANES) for v in parts]
            for v, place in enumerate(emit_places(b, mask, VECTORS, first)):
                lines = []
                for j in range(Q4.lines):
                    whole = [_load(b, at(b, words, LINE * j + VB * part), i32v.llvm) for part in parts]
                    lines.append(b.bitcast(emit_take(b, whole, place), i8v.llvm))
                _store_group(b, v, more, lines, emit_take_kept(b, packed, place), panel)
            return ctx.get_dummy_value()

        i = types.int64
        return types.void(i, i, i, i, i), codegen

    return unpack


def ragged_unpack(more: int) -> Any:
    """An intrinsic `unpack(mask, words, factors, panel)`: the same for 16 rows of rowgroup4. Reads up to 64 bytes more
    than the words and the scales."""

    @intrinsic
    def unpack(tyctx: Any, mask: Any, words: Any, factors: Any, panel: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            mask, words, factors, panel = args
            step = _ragged_line(b, mask)
            for v, place in enumerate(emit_places(b, mask, VECTORS)):
                lines = _spread_lines(b, words, step, place)
                _store_group(b, v, more, lines, _spread_factor(b, factors, place), panel)
            return ctx.get_dummy_value()

        i = types.int64
        return types.void(i, i, i, i), codegen

    return unpack


PANEL_GROUP = group_bytes(Q4)
"""Bytes from a group of a panel to the next."""

__all__ = ["HALVES", "KEPT", "PANEL_GROUP", "balanced_step", "balanced_unpack", "ragged_step", "ragged_unpack"]
