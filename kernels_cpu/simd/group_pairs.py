"""Products of grouped weights, many rows at once, by NEON's int8 matrix product: pairs of rows x pairs of columns.

Import from here, not through the package. group_panel.py has the form for all other levels, and the meaning. `smmla`
multiplies [2 rows][8 k] by [2 columns][8 k]: a panel has its weights so, a group of 32 k as 4 x 8 vectors of 8 k and
two columns each; then its scales as 8 vectors of two columns, repeated, and for q4m its minima. The 8 k are the even or
the odd fours of 16, which is how one instruction takes them from two rows.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.groups import GROUPS, LINE, Grouped, at, emit_fma
from edgert.kernels_cpu.simd.half import emit_load_half
from edgert.kernels_cpu.simd.order import emit_after
from edgert.kernels_cpu.simd.target import LANES
from edgert.kernels_cpu.simd.tile_pairs import ZIP
from edgert.kernels_cpu.simd.types import F32, I32, I64, call, const, f32v, i8v, i32v, pointer, shuffle, splat

OCTETS = 4
"""Times eight k in a group."""
COLUMN_PAIRS = 8
"""Of a panel."""
_OCTET = 16 * COLUMN_PAIRS
"""Bytes of 8 k of all columns, and of the repeated factors."""
_FOURS = [0, 2, 4, 6], [1, 3, 5, 7]
"""The even and the odd fours of two rows of 16 k."""
_FRONT, _BACK = [0, 1, 4, 5], [2, 3, 6, 7]
"""The first two numbers of two vectors, the last two."""


def pairs_bytes(form: Grouped) -> int:
    """Of one group in a panel."""
    return _OCTET * (OCTETS + 1 + form.minima)


def _load(b: Any, address: Any, kind: Any) -> Any:
    return b.load(pointer(b, address, kind), align=1)


def _store(b: Any, value: Any, address: Any) -> None:
    b.store(value, pointer(b, address, value.type), align=1)


def _numbers(b: Any, form: Grouped, w: Any, place: int) -> list[Any]:
    """The numbers of four columns, 16 bytes from `place` on in each line of a group: by quads of k, number - zero."""
    lines = [_load(b, at(b, w, LINE * j + place), i8v.llvm) for j in range(form.lines)]
    if form.nibbles:
        low = [b.and_(line, const(line.type, 15)) for line in lines]
        lines = low + [b.lshr(line, const(line.type, 4)) for line in lines]
    return [b.sub(line, const(line.type, form.zero)) if form.zero else line for line in lines]


def pairs_unpack(form: Grouped) -> Any:
    """An intrinsic `unpack(w, panel)`: the 16 rows x 64 k at w become two groups of a panel."""

    def group(b: Any, w: Any, factors: Any, panel: Any) -> None:
        for four in range(4):
            quads = [b.bitcast(v, i32v.llvm) for v in _numbers(b, form, w, 16 * four)]
            for octet in range(OCTETS):
                first = 4 * (octet // 2) + octet % 2
                for i, mask in enumerate(ZIP):
                    pair = shuffle(b, quads[first], quads[first + 2], mask)
                    _store(b, pair, at(b, panel, _OCTET * octet + 16 * (2 * four + i)))
            for f in range(1 + form.minima):
                factor = emit_load_half(b, at(b, factors, LINE * f + 8 * four), LANES)
                for i, mask in enumerate(([0, 1, 0, 1], [2, 3, 2, 3])):
                    place = _OCTET * (OCTETS + f) + 16 * (2 * four + i)
                    _store(b, shuffle(b, factor, factor, mask), at(b, panel, place))

    @intrinsic
    def unpack(tyctx: Any, w: Any, panel: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            w, panel = args
            for g in range(GROUPS):
                factors = at(b, w, form.factors + LINE // GROUPS * g)
                group(b, at(b, w, LINE * form.lines * g), factors, at(b, panel, pairs_bytes(form) * g))
            return ctx.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return unpack


def _row_pairs(rows: int) -> list[tuple[int, int]]:
    """Rows two by two; an odd last one beside itself."""
    return [(r, min(r + 1, rows - 1)) for r in range(0, rows, 2)]


def pairs_enter(rows: int, vectors: int) -> Any:
    """An intrinsic `enter(acc)`: sums of a tile as panel.py has them, row by row, in the order that pairs_step keeps:
    of two rows, then of two columns, [row][column]."""
    given = types.UniTuple(f32v, rows * vectors)
    made = types.UniTuple(f32v, 2 * vectors * len(_row_pairs(rows)))

    @intrinsic
    def enter(tyctx: Any, acc: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, found = cgutils.unpack_tuple(b, args[0]), []
            for r, s in _row_pairs(rows):
                for v in range(vectors):
                    found += [shuffle(b, acc[r * vectors + v], acc[s * vectors + v], m) for m in (_FRONT, _BACK)]
            return cgutils.pack_array(b, found)

        return made(given), codegen

    return enter


def pairs_leave(rows: int, vectors: int) -> Any:
    """An intrinsic `leave(acc)`: what `enter` did, undone."""
    given = types.UniTuple(f32v, 2 * vectors * len(_row_pairs(rows)))
    made = types.UniTuple(f32v, rows * vectors)

    @intrinsic
    def leave(tyctx: Any, acc: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, found = cgutils.unpack_tuple(b, args[0]), []
            for r in range(rows):
                pairs = acc[2 * vectors * (r // 2) : 2 * vectors * (r // 2 + 1)]
                mask = _BACK if r % 2 else _FRONT
                found += [shuffle(b, pairs[2 * v], pairs[2 * v + 1], mask) for v in range(vectors)]
            return cgutils.pack_array(b, found)

        return made(given), codegen

    return leave


def _two(b: Any, x: list[Any], pair: tuple[int, int], offset: Any, element: Any, kind: Any) -> Any:
    """The number at x[r] + offset of both rows, each twice."""
    first, second = (splat(b, _load(b, b.add(x[r], offset), element), kind) for r in pair)
    return shuffle(b, first, second, _FRONT)


def pairs_step(form: Grouped, rows: int, vectors: int) -> Any:
    """An intrinsic `step(acc, x, value, scale, total, panel)`: as group_step, with sums in the order of pairs_enter."""
    pairs, columns = _row_pairs(rows), 2 * vectors
    kind, addresses = types.UniTuple(f32v, columns * len(pairs)), types.UniTuple(types.int64, rows)

    def products(b: Any, x: list[Any], value: Any, panel: Any) -> list[Any]:
        sums = [const(i32v.llvm, 0)] * (columns * len(pairs))
        for half in range(2):
            offset = b.add(value, ir.Constant(I64, 16 * half))
            lines = [_load(b, b.add(row, offset), i32v.llvm) for row in x]
            for i, mask in enumerate(_FOURS):
                left = [b.bitcast(shuffle(b, lines[r], lines[s], mask), i8v.llvm) for r, s in pairs]
                for j in range(columns):
                    right = _load(b, at(b, panel, _OCTET * (2 * half + i) + 16 * j), i8v.llvm)
                    for p, two in enumerate(left):
                        n = columns * p + j
                        sums[n] = call(b, "llvm.aarch64.neon.smmla.v4i32.v16i8", i32v.llvm, sums[n], two, right)
                panel = emit_after(b, panel, sums)
        return sums

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, value: Any, scale: Any, total: Any, panel: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, value, scale, total, panel = args
            acc, x = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, x)
            dots = products(b, x, value, panel)
            factors, minima = (
                [_load(b, at(b, panel, _OCTET * (OCTETS + f) + 16 * j), f32v.llvm) for j in range(columns)]
                for f in (0, 1 if form.minima else 0)
            )
            made = []
            for p, pair in enumerate(pairs):
                scales = _two(b, x, pair, scale, F32, f32v.llvm)
                if form.minima:
                    added = b.fmul(scales, b.sitofp(_two(b, x, pair, total, I32, i32v.llvm), f32v.llvm))
                for j in range(columns):
                    n = columns * p + j
                    result = emit_fma(b, b.sitofp(dots[n], f32v.llvm), b.fmul(factors[j], scales), acc[n])
                    made.append(emit_fma(b, added, minima[j], result) if form.minima else result)
            return cgutils.pack_array(b, made)

        i = types.int64
        return kind(kind, addresses, i, i, i, i), codegen

    return step
