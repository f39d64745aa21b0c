"""Weights in groups of 32 against g32 rows: exact integer dots of a group, then one fused multiply-add per output.

Import from here, not through the package. The blocks are those of the encodings q4, q4m and q8g (docs/format.md):
16 rows x 64 k, in lines of 16 rows x 4 k, then lines of 2 x 16 float16 scales and, in q4m, minima.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.arith import emit_multiply_words
from edgert.kernels_cpu.simd.half import emit_load_half
from edgert.kernels_cpu.simd.partial import emit_store_first
from edgert.kernels_cpu.simd.target import ARCH, has
from edgert.kernels_cpu.simd.types import (
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    VB,
    call,
    concat,
    const,
    f32v,
    halves,
    i8v,
    i16v,
    i32v,
    pointer,
    shuffle,
    splat,
    undef,
)  # fmt: skip

LINE = 64
GROUPS = 2
"""Groups of a block."""
VECTORS = LINE // VB
"""Vectors of a line, hence accumulators of 16 rows."""
QUADS = 8
"""Times four k in a group."""


@dataclass(frozen=True)
class Grouped:
    """How the numbers of a block lie: `lines` of each group, nibbles or bytes, `zero` taken off, minima or not."""

    name: str
    lines: int
    zero: int
    minima: bool

    @property
    def nibbles(self) -> bool:
        return self.lines == QUADS // 2

    @property
    def factors(self) -> int:
        """Bytes before the line of scales; minima are in the next."""
        return GROUPS * self.lines * LINE

    @property
    def nbytes(self) -> int:
        """Bytes of a block."""
        return self.factors + (2 if self.minima else 1) * LINE


Q4, Q4M, Q8G = Grouped("q4", 4, 8, False), Grouped("q4m", 4, 0, True), Grouped("q8g", 8, 0, False)


def at(b: Any, address: Any, offset: int) -> Any:
    return b.add(address, ir.Constant(I64, offset)) if offset else address


def emit_fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z as the word `fma` has it, on f32v."""
    t = x.type
    if has("fma"):
        return call(b, f"llvm.fma.v{t.count}f32", t, x, y, z)
    wide = ir.VectorType(F64, t.count)
    return b.fptrunc(b.fadd(b.fmul(b.fpext(x, wide), b.fpext(y, wide)), b.fpext(z, wide)), t)


# ---- integer dots of one group. `lines[j]` are vectors of line j, `x[i]` the four bytes of quad i in every column.
def emit_load_quads(b: Any, q: Any) -> list[Any]:
    """The 32 int8 of a group at q, each quad repeated over a vector."""
    if ARCH == "aarch64":
        # two loads; products by a lane need no repetition, and others get it from the register
        parts = [b.bitcast(b.load(pointer(b, at(b, q, 16 * i), i8v.llvm), align=1), i32v.llvm) for i in range(2)]
        return [b.bitcast(shuffle(b, parts[i // 4], undef(i32v.llvm), [i % 4] * 4), i8v.llvm) for i in range(QUADS)]
    quads = [b.load(pointer(b, at(b, q, 4 * i), I32), align=1) for i in range(QUADS)]
    return [b.bitcast(splat(b, quad, i32v.llvm), i8v.llvm) for quad in quads]


def _low(b: Any, line: Any) -> Any:
    return b.and_(line, const(line.type, 15))


def _high(b: Any, line: Any) -> Any:
    if ARCH == "x86_64":
        # bytes are shifted as words, there being no other shift
        words = b.lshr(b.bitcast(line, i16v.llvm), const(i16v.llvm, 4))
        return _low(b, b.bitcast(words, i8v.llvm))
    return b.lshr(line, const(line.type, 4))


Rows = Sequence[Sequence[Any]]
"""The quads of each row of x."""


def _pairs(b: Any, form: Grouped, lines: Sequence[Any]) -> Iterator[tuple[Any, int]]:
    """The numbers of each quad as bytes, and which quad: nibbles are unsigned, bytes signed. Both nibbles of a line
    follow each other, so that it need not stay in a register."""
    for j, line in enumerate(lines):
        yield (_low(b, line) if form.nibbles else line), j
        if form.nibbles:
            yield _high(b, line), QUADS // 2 + j


def _dot_vnni(b: Any, form: Grouped, lines: Sequence[Any], x: Rows, totals: Sequence[Any]) -> list[Any]:
    """vpdpbusd takes unsigned weights: bytes are offset by 128, high nibbles stay where they are until the end."""
    dot, zero = f"llvm.x86.avx512.vpdpbusd.{8 * VB}", const(i32v.llvm, 0)
    if form.nibbles:
        low, high = [_low(b, line) for line in lines], [b.and_(line, const(line.type, 0xF0)) for line in lines]
    else:
        low = [b.xor(line, const(line.type, 0x80)) for line in lines]
    found = []
    for quads, total in zip(x, totals, strict=True):
        if form.nibbles:
            first, second = b.mul(total, const(total.type, -form.zero)), zero
            for j in range(form.lines):
                first = call(b, dot, first.type, first, low[j], quads[j])
                second = call(b, dot, first.type, second, high[j], quads[QUADS // 2 + j])
            found.append(b.add(first, b.ashr(second, const(first.type, 4))))
        else:
            sums = [b.shl(b.neg(total), const(total.type, 7)), zero]
            for j, line in enumerate(low):
                sums[j % 2] = call(b, dot, zero.type, sums[j % 2], line, quads[j])
            found.append(b.add(*sums))
    return found


def _dot_avx2(b: Any, form: Grouped, lines: Sequence[Any], x: Rows) -> list[Any]:
    """vpmaddubsw of nibbles: 8 sums of two products are at most 30720, so they are added in 16 bits. Of bytes:
    |w| with the sign given to x; a sum of two is at most 2 * 128 * 127."""
    words, ones = i16v.llvm, const(i16v.llvm, 1)
    totals: list[Any] = [None] * len(x)
    for w, i in _pairs(b, form, lines):
        size = w if form.nibbles else call(b, f"llvm.abs.v{VB}i8", w.type, w, ir.Constant(ir.IntType(1), 0))
        for r, quads in enumerate(x):
            quad = quads[i] if form.nibbles else call(b, "llvm.x86.avx2.psign.b", w.type, quads[i], w)
            two = call(b, "llvm.x86.avx2.pmadd.ub.sw", words, size, quad)
            if not form.nibbles:
                two = call(b, "llvm.x86.avx2.pmadd.wd", i32v.llvm, two, ones)
            totals[r] = two if i == 0 else b.add(totals[r], two)
    if not form.nibbles:
        return totals
    return [call(b, "llvm.x86.avx2.pmadd.wd", i32v.llvm, total, ones) for total in totals]


def _dot_sdot(b: Any, form: Grouped, lines: Sequence[Any], x: Rows) -> list[Any]:
    totals = [const(i32v.llvm, 0)] * len(x)
    for w, i in _pairs(b, form, lines):
        for r, quads in enumerate(x):
            totals[r] = call(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", i32v.llvm, totals[r], w, quads[i])
    return totals


def _dot_neon(b: Any, form: Grouped, lines: Sequence[Any], x: Rows) -> list[Any]:
    """smull and smlal in 16 bits: all 8 products of nibbles fit (8 * 15 * 128), and two of bytes (2 * 128 * 127)."""
    words = ir.VectorType(I16, 8)
    together = QUADS if form.nibbles else 2
    totals: list[Any] = [None] * len(x)
    products: list[list[Any]] = [[None, None] for _ in x]
    sides: list[list[Any]] = [[None, None] for _ in x]
    for count, (w, i) in enumerate(_pairs(b, form, lines)):
        for r, quads in enumerate(x):
            for side, (w8, x8) in enumerate(zip(halves(b, w), halves(b, quads[i]), strict=True)):
                product = call(b, "llvm.aarch64.neon.smull.v8i16", words, w8, x8)
                products[r][side] = product if count % together == 0 else b.add(products[r][side], product)
                if (count + 1) % together == 0 and not form.nibbles:
                    pairs = call(b, "llvm.aarch64.neon.saddlp.v4i32.v8i16", i32v.llvm, products[r][side])
                    sides[r][side] = pairs if sides[r][side] is None else b.add(sides[r][side], pairs)
    for r in range(len(x)):
        if form.nibbles:  # pairs of sums are at most 2 * 15240
            pairs = call(b, "llvm.aarch64.neon.addp.v8i16", words, *products[r])
            totals[r] = call(b, "llvm.aarch64.neon.saddlp.v4i32.v8i16", i32v.llvm, pairs)
        else:
            totals[r] = call(b, "llvm.aarch64.neon.addp.v4i32", i32v.llvm, *sides[r])
    return totals


def _dot_words(b: Any, form: Grouped, lines: Sequence[Any], x: Rows) -> list[Any]:
    """Even and odd bytes as 16-bit values, whose products are added in pairs."""
    words, eight = i16v.llvm, const(i16v.llvm, 8)

    def split(bytes8: Any) -> tuple[Any, Any]:
        both = b.bitcast(bytes8, words)
        return b.ashr(b.shl(both, eight), eight), b.ashr(both, eight)

    totals = [const(i32v.llvm, 0)] * len(x)
    for w, i in _pairs(b, form, lines):
        for r, quads in enumerate(x):
            even, odd = (emit_multiply_words(b, *pair) for pair in zip(split(w), split(quads[i]), strict=True))
            totals[r] = b.add(totals[r], b.add(even, odd))
    return totals


def emit_dot_group(b: Any, form: Grouped, lines: Sequence[Any], x: Rows, totals: Sequence[Any]) -> list[Any]:
    """The exact sums of (number - zero) * x over a group -> i32v for each row of x; `totals` (i32v) are its sums.

    x must be at least -127. What is made of a line serves all rows."""
    if has("vnni"):
        return _dot_vnni(b, form, lines, x, totals)
    if has("avx2"):
        dot = _dot_avx2
    elif has("dotprod"):
        dot = _dot_sdot
    elif ARCH == "aarch64":
        dot = _dot_neon
    else:
        dot = _dot_words
    found = dot(b, form, lines, x)
    if not form.zero:
        return found
    return [b.sub(dots, b.mul(t, const(t.type, form.zero))) for dots, t in zip(found, totals, strict=True)]


_SUMS = types.UniTuple(f32v, VECTORS)
"""The accumulators of 16 columns of y, which are 16 rows of weights."""


def block_step(form: Grouped, rows: int) -> Any:
    """An intrinsic `step(acc, x, value, scale, total, w)`: 64 k of `rows` g32 rows against the block at w. x is a tuple
    of the rows' addresses (row_starts); value, scale and total are the offsets in a row of its int8, of their scales
    and of their sums. acc: sum (row r, vector v) is element r * VECTORS + v.

    Per group: acc = fma(dot, w_scale * x_scale, acc) and, with minima, acc = fma(x_scale * total, w_min, acc): the
    order that every product with grouped weights keeps, so that all agree."""
    kind, addresses = types.UniTuple(f32v, rows * VECTORS), types.UniTuple(types.int64, rows)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, value: Any, scale: Any, total: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, value, scale, total, w = args
            values, starts = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, x)

            def every(offset: Any, group: int, element: Any, vec: Any) -> list[Any]:
                places = [at(b, b.add(start, offset), 4 * group) for start in starts]
                return [splat(b, b.load(pointer(b, place, element), align=4), vec) for place in places]

            for g in range(GROUPS):
                quads = [emit_load_quads(b, at(b, b.add(start, value), 32 * g)) for start in starts]
                scales, totals = every(scale, g, F32, f32v.llvm), every(total, g, I32, i32v.llvm)
                for v in range(VECTORS):
                    lines = [
                        b.load(pointer(b, at(b, w, (g * form.lines + j) * LINE + v * VB), i8v.llvm), align=1)
                        for j in range(form.lines)
                    ]
                    dots = emit_dot_group(b, form, lines, quads, totals)
                    factors = at(b, w, form.factors + g * LINE // GROUPS + v * VB // 2)
                    factor = emit_load_half(b, factors, f32v.lanes)
                    minimum = emit_load_half(b, at(b, factors, LINE), f32v.lanes) if form.minima else None
                    for r, i in enumerate(range(v, rows * VECTORS, VECTORS)):
                        values[i] = emit_fma(b, b.sitofp(dots[r], f32v.llvm), b.fmul(factor, scales[r]), values[i])
                        if form.minima:
                            offset = b.fmul(scales[r], b.sitofp(totals[r], f32v.llvm))
                            values[i] = emit_fma(b, offset, minimum, values[i])
            return cgutils.pack_array(b, values)

        i64 = types.int64
        return kind(kind, addresses, i64, i64, i64, i64), codegen

    return step


def store_group(form: Grouped) -> Any:
    """An intrinsic `store(w, row, group, y)`: the 32 weights of row 0..15 and group 0 or 1 of the block at w, as floats
    at y: scale * (number - zero) + minimum, each step rounded."""

    @intrinsic
    def store(tyctx: Any, w: Any, row: Any, group: Any, y: Any) -> Any:
        numbers, floats = ir.VectorType(I32, 32), ir.VectorType(F32, 32)

        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            w, row, group, y = args
            words = undef(ir.VectorType(I32, form.lines))
            first = b.add(w, b.add(b.mul(group, ir.Constant(I64, LINE * form.lines)), b.mul(row, ir.Constant(I64, 4))))
            for j in range(form.lines):
                word = b.load(pointer(b, at(b, first, LINE * j), I32), align=4)
                words = b.insert_element(words, word, ir.Constant(I32, j))
            values = b.bitcast(words, ir.VectorType(I8, 4 * form.lines))
            if form.nibbles:
                values = concat(b, b.and_(values, const(values.type, 15)), b.lshr(values, const(values.type, 4)))
            wide = b.sext(values, numbers)  # nibbles have no sign bit
            real = b.sitofp(b.sub(wide, const(numbers, form.zero)), floats)
            halves_of = b.add(b.mul(group, ir.Constant(I64, LINE // GROUPS)), b.mul(row, ir.Constant(I64, 2)))
            scale = b.add(at(b, w, form.factors), halves_of)
            real = b.fmul(real, splat(b, emit_load_half(b, scale, 1), floats))
            if form.minima:
                real = b.fadd(real, splat(b, emit_load_half(b, at(b, scale, LINE), 1), floats))
            b.store(real, pointer(b, y, floats), align=1)
            return ctx.get_dummy_value()

        i64 = types.int64
        return types.void(i64, i64, i64, i64), codegen

    return store


def line_step(count: int, blocks: int) -> Any:
    """An intrinsic `step(acc, x, w, stride)`: `count` k of float16 weights (n16k1), one after the other, in `blocks`
    blocks of 16 columns, `stride` bytes apart: acc = fma(x[i], line i, acc). x is the address of floats, w that of
    lines of 16 halves. acc is a tuple with the accumulators of each block."""
    kind = types.UniTuple(_SUMS, blocks)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, w: Any, stride: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, w, stride = args
            sums = [cgutils.unpack_tuple(b, block) for block in cgutils.unpack_tuple(b, acc)]
            for i in range(count):
                one = splat(b, b.load(pointer(b, at(b, x, 4 * i), F32), align=4), f32v.llvm)
                for n, values in enumerate(sums):
                    line = at(b, b.add(w, b.mul(stride, ir.Constant(I64, n))), i * LINE // 2)
                    for v in range(VECTORS):
                        half = emit_load_half(b, at(b, line, v * VB // 2), f32v.lanes)
                        values[v] = emit_fma(b, one, half, values[v])
            return cgutils.pack_array(b, [cgutils.pack_array(b, values) for values in sums])

        i64 = types.int64
        return kind(kind, i64, i64, i64), codegen

    return step


@intrinsic
def zero_sums(tyctx: Any) -> Any:
    """The accumulators of 16 columns, at 0."""
    return _SUMS(), lambda ctx, b, sig, args: cgutils.pack_array(b, [const(f32v.llvm, 0.0)] * VECTORS)


@intrinsic
def store_columns(
    tyctx: Any, acc: Any, bias: Any, residual: Any, low: Any, high: Any, y: Any, row: Any, columns: Any, first: Any
) -> Any:
    """Columns first .. first + 15 of a row become acc + bias + residual, clamped (NaN passes), as far as there are
    `columns`. bias is the address of floats [columns], residual and y of [rows, columns]; the first two may be 0, for
    none."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        acc, bias, residual, low, high, y, row, columns, first = args
        column = b.mul(first, ir.Constant(I64, 4))
        place = b.add(b.mul(b.mul(row, columns), ir.Constant(I64, 4)), column)
        for v, value in enumerate(cgutils.unpack_tuple(b, acc)):
            for more, offset in ((bias, column), (residual, place)):
                slot = cgutils.alloca_once_value(b, value)
                with b.if_then(b.icmp_signed("!=", more, ir.Constant(I64, 0))):
                    addend = b.load(pointer(b, at(b, b.add(more, offset), v * VB), f32v.llvm), align=1)
                    b.store(b.fadd(value, addend), slot)
                value = b.load(slot)
            value = b.select(b.fcmp_ordered(">", low, value), low, value)
            value = b.select(b.fcmp_ordered("<", high, value), high, value)
            left = b.sub(b.sub(columns, first), ir.Constant(I64, v * f32v.lanes))
            emit_store_first(b, at(b, b.add(y, place), v * VB), value, left)
        return ctx.get_dummy_value()

    i64 = types.int64
    return types.void(_SUMS, i64, i64, f32v, f32v, i64, i64, i64, i64), codegen
