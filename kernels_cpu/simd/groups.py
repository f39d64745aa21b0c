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


def _pairs(b: Any, form: Grouped, lines: Sequence[Any], x: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """The numbers of each quad as bytes, with the quad's x: nibbles are unsigned, bytes signed. Both nibbles of a line
    follow each other, so that it need not stay in a register."""
    for j, line in enumerate(lines):
        yield (_low(b, line) if form.nibbles else line), x[j]
        if form.nibbles:
            yield _high(b, line), x[QUADS // 2 + j]


def _dot_vnni(b: Any, form: Grouped, lines: Sequence[Any], x: Sequence[Any], total: Any) -> Any:
    """vpdpbusd takes unsigned weights: bytes are offset by 128, high nibbles stay where they are until the end."""
    dot = "llvm.x86.avx512.vpdpbusd.512"
    if form.nibbles:
        low, high = b.mul(total, const(total.type, -form.zero)), const(i32v.llvm, 0)
        for j, line in enumerate(lines):
            low = call(b, dot, low.type, low, _low(b, line), x[j])
            high = call(b, dot, high.type, high, b.and_(line, const(line.type, 0xF0)), x[QUADS // 2 + j])
        return b.add(low, b.ashr(high, const(high.type, 4)))
    first = b.shl(b.neg(total), const(total.type, 7))
    sums = [first, const(i32v.llvm, 0)]
    for j, line in enumerate(lines):
        sums[j % 2] = call(b, dot, first.type, sums[j % 2], b.xor(line, const(line.type, 0x80)), x[j])
    return b.add(*sums)


def _dot_avx2(b: Any, form: Grouped, lines: Sequence[Any], x: Sequence[Any]) -> Any:
    """vpmaddubsw of nibbles: 8 sums of two products are at most 30720, so they are added in 16 bits. Of bytes:
    |w| with the sign given to x; a sum of two is at most 2 * 128 * 127."""
    words, ones = i16v.llvm, const(i16v.llvm, 1)
    total = None
    for w, quad in _pairs(b, form, lines, x):
        if not form.nibbles:
            quad = call(b, "llvm.x86.avx2.psign.b", w.type, quad, w)
            w = call(b, f"llvm.abs.v{VB}i8", w.type, w, ir.Constant(ir.IntType(1), 0))
        two = call(b, "llvm.x86.avx2.pmadd.ub.sw", words, w, quad)
        if not form.nibbles:
            two = call(b, "llvm.x86.avx2.pmadd.wd", i32v.llvm, two, ones)
        total = two if total is None else b.add(total, two)
    return call(b, "llvm.x86.avx2.pmadd.wd", i32v.llvm, total, ones) if form.nibbles else total


def _dot_sdot(b: Any, form: Grouped, lines: Sequence[Any], x: Sequence[Any]) -> Any:
    total = const(i32v.llvm, 0)
    for w, quad in _pairs(b, form, lines, x):
        total = call(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", total.type, total, w, quad)
    return total


def _dot_neon(b: Any, form: Grouped, lines: Sequence[Any], x: Sequence[Any]) -> Any:
    """smull and smlal in 16 bits: all 8 products of nibbles fit (8 * 15 * 128), and two of bytes (2 * 128 * 127)."""
    words = ir.VectorType(I16, 8)
    together = QUADS if form.nibbles else 2
    total: list[Any] = [None, None]
    products: list[Any] = [None, None]
    for i, (w, quad) in enumerate(_pairs(b, form, lines, x)):
        for side, (w8, x8) in enumerate(zip(halves(b, w), halves(b, quad), strict=True)):
            product = call(b, "llvm.aarch64.neon.smull.v8i16", words, w8, x8)
            products[side] = product if i % together == 0 else b.add(products[side], product)
            if (i + 1) % together == 0 and not form.nibbles:
                pairs = call(b, "llvm.aarch64.neon.saddlp.v4i32.v8i16", i32v.llvm, products[side])
                total[side] = pairs if total[side] is None else b.add(total[side], pairs)
    if not form.nibbles:
        return call(b, "llvm.aarch64.neon.addp.v4i32", i32v.llvm, *total)
    # pairs of sums are at most 2 * 15240
    pairs = call(b, "llvm.aarch64.neon.addp.v8i16", words, *products)
    return call(b, "llvm.aarch64.neon.saddlp.v4i32.v8i16", i32v.llvm, pairs)


def _dot_words(b: Any, form: Grouped, lines: Sequence[Any], x: Sequence[Any]) -> Any:
    """SSE2: even and odd bytes as 16-bit values, pmaddwd."""
    words, eight = i16v.llvm, const(i16v.llvm, 8)
    total = const(i32v.llvm, 0)
    for w, quad in _pairs(b, form, lines, x):
        ww, xw = b.bitcast(w, words), b.bitcast(quad, words)
        even = call(b, "llvm.x86.sse2.pmadd.wd", i32v.llvm, *(b.ashr(b.shl(v, eight), eight) for v in (ww, xw)))
        odd = call(b, "llvm.x86.sse2.pmadd.wd", i32v.llvm, b.ashr(ww, eight), b.ashr(xw, eight))
        total = b.add(total, b.add(even, odd))
    return total


def emit_dot_group(b: Any, form: Grouped, lines: Sequence[Any], x: Sequence[Any], total: Any) -> Any:
    """The exact sums of (number - zero) * x over a group -> i32v; `total` (i32v) is the sum of x.

    x must be at least -127."""
    if has("avx512vnni"):
        return _dot_vnni(b, form, lines, x, total)
    if has("avx2"):
        dot = _dot_avx2
    elif has("dotprod"):
        dot = _dot_sdot
    elif ARCH == "aarch64":
        dot = _dot_neon
    else:
        dot = _dot_words
    found = dot(b, form, lines, x)
    return b.sub(found, b.mul(total, const(total.type, form.zero))) if form.zero else found


_SUMS = types.UniTuple(f32v, VECTORS)
"""The accumulators of 16 columns of y, which are 16 rows of weights."""


def block_step(form: Grouped) -> Any:
    """An intrinsic `step(acc, q, scale, total, w)`: 64 k of a g32 row (its int8 at q, scales at scale, sums at
    total) against the block at w.

    Per group: acc = fma(dot, w_scale * x_scale, acc) and, with minima, acc = fma(x_scale * total, w_min, acc): the
    order that every product with grouped weights keeps, so that all agree."""

    @intrinsic
    def step(tyctx: Any, acc: Any, q: Any, scale: Any, total: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, q, scale, total, w = args
            values = cgutils.unpack_tuple(b, acc)
            for g in range(GROUPS):
                x = emit_load_quads(b, at(b, q, 32 * g))
                x_scale = splat(b, b.load(pointer(b, at(b, scale, 4 * g), F32), align=4), f32v.llvm)
                sums = splat(b, b.load(pointer(b, at(b, total, 4 * g), I32), align=4), i32v.llvm)
                for v in range(VECTORS):
                    lines = [
                        b.load(pointer(b, at(b, w, (g * form.lines + j) * LINE + v * VB), i8v.llvm), align=1)
                        for j in range(form.lines)
                    ]
                    dot = b.sitofp(emit_dot_group(b, form, lines, x, sums), f32v.llvm)
                    factors = at(b, w, form.factors + g * LINE // GROUPS + v * VB // 2)
                    factor = b.fmul(emit_load_half(b, factors, f32v.lanes), x_scale)
                    values[v] = emit_fma(b, dot, factor, values[v])
                    if form.minima:
                        minimum = emit_load_half(b, at(b, factors, LINE), f32v.lanes)
                        offset = b.fmul(x_scale, b.sitofp(sums, f32v.llvm))
                        values[v] = emit_fma(b, offset, minimum, values[v])
            return cgutils.pack_array(b, values)

        i64 = types.int64
        return _SUMS(_SUMS, i64, i64, i64, i64), codegen

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
