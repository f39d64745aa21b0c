"""One neuron of an FFN against rows of g32, and added to rows of floats: the blocks of neurons4 and neurons8 (F57).

Import from here, not through the package. A block is 128 values in four groups. Sums of a row are 16 lanes at every
level, in as many vectors as it needs, and are folded in one order: the bits do not depend on the level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd import helper, load_i32, splat_i8, splat_i32, store_i32, store_i32v
from edgert.kernels_cpu.simd.bytes8 import dot4, emit_dot4
from edgert.kernels_cpu.simd.groups import at, emit_fma
from edgert.kernels_cpu.simd.half import emit_load_half
from edgert.kernels_cpu.simd.memory import load_i8v
from edgert.kernels_cpu.simd.target import ACT_SIGNED, ARCH, LANES, REGISTERS, VECTOR_BYTES, has
from edgert.kernels_cpu.simd.types import (
    F32,
    I64,
    call,
    const,
    f32v,
    i8v,
    i16v,
    i32v,
    pointer,
    shuffle,
    splat,
    undef,
)  # fmt: skip

LINE = 64
GROUPS = 4
"""Of a block."""
VECTORS = LINE // VECTOR_BYTES
"""Vectors of 16 lanes."""
PREPARED = 4 * LINE
"""Bytes of a block of x as `prepare` leaves it: two lines of numbers, what sums start at, scales."""
FLOATS = 512
"""Bytes of the 128 sums of a block."""


@dataclass(frozen=True)
class Form:
    """How the numbers of a block lie: of 4 or of 8 bits."""

    bits: int

    @property
    def block(self) -> int:
        """Bytes of a block."""
        return 16 * self.bits

    @property
    def zero(self) -> int:
        """What the unsigned side of a dot product has too much: bytes are flipped where they must be unsigned."""
        return 8 if self.bits == 4 else 0 if ACT_SIGNED else 128


FORMS = {bits: Form(bits) for bits in (4, 8)}


# ---- rows of x
def prepare(form: Form) -> Any:
    """A helper `f(x, groups, scales, made)`: 128 values of a row of g32 as `up_step` takes them. x is the address of
    int8, scales that of their scales; of the four groups `groups` exist. Writes PREPARED bytes at `made`."""
    zero = form.zero

    @helper
    def f(x, groups, scales, made):  # type: ignore[no-untyped-def]
        for group in range(GROUPS):
            there = group < groups
            scale = load_i32(scales + 4 * group) if there else 0
            for j in range(4):
                to = made + 16 * j + 4 * group
                store_i32(to, load_i32(x + 32 * group + 4 * j) if there else 0)
                store_i32(to + 64, load_i32(x + 32 * group + 16 + 4 * j) if there else 0)
                store_i32(to + 192, scale)
        factor = splat_i8(zero - 256 if zero > 127 else zero)
        for v in range(VECTORS):
            low, high = load_i8v(made + VECTOR_BYTES * v), load_i8v(made + 64 + VECTOR_BYTES * v)
            total = dot4(dot4(splat_i32(0), factor, low), factor, high)
            store_i32v(made + 128 + VECTOR_BYTES * v, splat_i32(0) - total)

    return f


# ---- up: the products of a row with x
UP_ROWS = 4 if REGISTERS == 32 else 2 if has("avx2") else 1
"""Rows of x that share what is made of the numbers of a row."""


def up_zero(rows: int) -> Any:
    """An intrinsic `zero()`: the 16 sums of each row of x, at 0."""
    kind = types.UniTuple(f32v, rows * VECTORS)

    @intrinsic
    def zero(tyctx: Any) -> Any:
        return kind(), lambda ctx, b, sig, args: cgutils.pack_array(b, [const(f32v.llvm, 0.0)] * (rows * VECTORS))

    return zero


def _fold(b: Any, found: list[Any]) -> Any:
    """16 sums folded by halves into one."""
    while len(found) > 1:
        half = len(found) // 2
        found = [b.fadd(low, high) for low, high in zip(found[:half], found[half:], strict=True)]
    value, lanes = found[0], f32v.lanes
    while lanes > 1:
        lanes //= 2
        low, high = (shuffle(b, value, undef(value.type), range(i, i + lanes)) for i in (0, lanes))
        value = b.fadd(low, high)
    return b.extract_element(value, ir.Constant(ir.IntType(32), 0))


def up_store(rows: int) -> Any:
    """An intrinsic `store(acc, gate, h, stride)`: for each row, `stride` bytes apart, the sum times the float at gate,
    at h; 0 where that is 0, whatever the sum is."""
    kind = types.UniTuple(f32v, rows * VECTORS)

    @intrinsic
    def store(tyctx: Any, acc: Any, gate: Any, h: Any, stride: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, gate, h, stride = args
            values, zero = cgutils.unpack_tuple(b, acc), ir.Constant(F32, 0.0)
            for r in range(rows):
                further = b.mul(stride, ir.Constant(I64, r))
                a = b.load(pointer(b, b.add(gate, further), F32), align=4)
                made = b.fmul(a, _fold(b, values[r * VECTORS : (r + 1) * VECTORS]))
                made = b.select(b.fcmp_ordered("==", a, zero), zero, made)
                b.store(made, pointer(b, b.add(h, further), F32), align=4)
            return ctx.get_dummy_value()

        i64 = types.int64
        return types.void(kind, i64, i64, i64), codegen

    return store


def _low_high(b: Any, line: Any) -> tuple[Any, Any]:
    """The half bytes of a vector, as bytes of 0 to 15."""
    low = b.and_(line, const(line.type, 15))
    if ARCH != "x86_64":
        return low, b.lshr(line, const(line.type, 4))
    # bytes are shifted as words, there being no other shift
    words = b.lshr(b.bitcast(line, i16v.llvm), const(i16v.llvm, 4))
    return low, b.and_(b.bitcast(words, i8v.llvm), const(line.type, 15))


def _dot(b: Any, form: Form, start: Any, w: tuple[Any, Any], x: tuple[Any, Any]) -> Any:
    if form.bits == 4 and has("avx2") and not has("vnni"):
        # four products of 15 * 127 at most fit 16 bits
        words = i16v.llvm
        pairs = [call(b, "llvm.x86.avx2.pmadd.ub.sw", words, *sides) for sides in zip(w, x, strict=True)]
        return b.add(start, call(b, "llvm.x86.avx2.pmadd.wd", i32v.llvm, b.add(*pairs), const(words, 1)))
    return emit_dot4(b, emit_dot4(b, start, w[0], x[0]), w[1], x[1])


def _four_halves(b: Any, address: Any) -> Any:
    """Four halves as floats, repeated over a vector."""
    four = emit_load_half(b, address, GROUPS)
    return shuffle(b, four, undef(four.type), list(range(GROUPS)) * (LANES // GROUPS))


def up_step(form: Form, rows: int) -> Any:
    """An intrinsic `step(acc, x, stride, w, scale)`: a prepared block of each row of x, `stride` bytes apart, times the
    block of a row at w, whose four scales are at `scale`.
    Lane 4 j + l: acc = fma(the dot of what j has of group l, w_scale * x_scale, acc)."""
    kind = types.UniTuple(f32v, rows * VECTORS)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, stride: Any, w: Any, scale: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, stride, w, scale = args
            starts = [b.add(x, b.mul(stride, ir.Constant(I64, r))) if r else x for r in range(rows)]
            values = cgutils.unpack_tuple(b, acc)
            factor = _four_halves(b, scale)

            def load(address: Any, offset: int, vec: Any) -> Any:
                return b.load(pointer(b, at(b, address, offset), vec.llvm), align=1)

            for v in range(VECTORS):
                place = VECTOR_BYTES * v
                lines = load(w, place, i8v)
                if form.bits == 4:
                    weights = _low_high(b, lines)
                else:
                    weights = lines, load(w, LINE + place, i8v)
                    if form.zero:
                        flip = const(i8v.llvm, 0x80)
                        weights = b.xor(weights[0], flip), b.xor(weights[1], flip)
                for r, start in enumerate(starts):
                    given = load(start, place, i8v), load(start, LINE + place, i8v)
                    dots = _dot(b, form, load(start, 2 * LINE + place, i32v), weights, given)
                    product, i = b.fmul(factor, load(start, 3 * LINE + place, f32v)), r * VECTORS + v
                    values[i] = emit_fma(b, b.sitofp(dots, f32v.llvm), product, values[i])
            return cgutils.pack_array(b, values)

        i64 = types.int64
        return kind(kind, i64, i64, i64, i64), codegen

    return step


# ---- down: columns added to rows of sums
if REGISTERS == 32 and LANES == 16:
    SHAPES = ((3, 4), (1, 4))
elif REGISTERS == 32 or LANES == 8:
    SHAPES = ((2, 1), (1, 2))
else:
    SHAPES = ((1, 1), (1, 1))
"""(rows, groups of a block) whose sums fit the registers, with as many rows as pay and with one."""


def _planes(b: Any, form: Form, words: list[Any], planes: range) -> list[Any]:
    """The numbers of some planes of 16 columns as floats: `words` are all vectors of the block."""
    found = []
    for t in planes:
        for v in range(VECTORS):
            if form.bits == 8:
                word, shift, bits = words[t // 4 * VECTORS + v], 8 * (t % 4), 8
            else:
                word, shift, bits = words[v], 4 * t, 4
            if bits == 4 and has("avx512"):
                # a permutation looks at the last four bits of its index alone
                table = const(f32v.llvm, [float(i - 8) for i in range(16)])
                index = b.lshr(word, const(word.type, shift)) if shift else word
                found.append(call(b, "llvm.x86.avx512.permvar.sf.512", f32v.llvm, table, index))
                continue
            if bits == 4:
                word = b.xor(word, const(word.type, -0x77777778))  # numbers less 8, in two's complement
            left = 32 - bits - shift
            high = b.shl(word, const(word.type, left)) if left else word
            found.append(b.sitofp(b.ashr(high, const(word.type, 32 - bits)), f32v.llvm))
    return found


def down_step(form: Form, rows: int, groups: int, first: int) -> Any:
    """An intrinsic `step(acc, w, scale, h, stride)`: groups first .. first + groups - 1 of the block of a column at w,
    whose scales are at `scale`, for `rows` rows with the values at h, `stride` bytes apart:
    acc = fma(h * scale, number, acc). acc is a tuple: row r, plane t, vector v."""
    width = 2 * groups * VECTORS
    kind = types.UniTuple(f32v, rows * width)

    @intrinsic
    def step(tyctx: Any, acc: Any, w: Any, scale: Any, h: Any, stride: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, w, scale, h, stride = args
            values = cgutils.unpack_tuple(b, acc)
            lines = form.block // LINE
            words = [b.load(pointer(b, at(b, w, VECTOR_BYTES * v), i32v.llvm), align=1) for v in range(lines * VECTORS)]
            numbers = _planes(b, form, words, range(2 * first, 2 * (first + groups)))
            four = emit_load_half(b, scale, GROUPS)
            for r in range(rows):
                place = b.add(h, b.mul(stride, ir.Constant(I64, r))) if r else h
                factors = b.fmul(four, splat(b, b.load(pointer(b, place, F32), align=4), four.type))
                for g in range(groups):
                    factor = shuffle(b, factors, undef(factors.type), [first + g] * LANES)
                    for i in range(2 * VECTORS * g, 2 * VECTORS * (g + 1)):
                        n = r * width + i
                        values[n] = emit_fma(b, factor, numbers[i], values[n])
            return cgutils.pack_array(b, values)

        i64 = types.int64
        return kind(kind, i64, i64, i64, i64), codegen

    return step


def down_load(rows: int, groups: int) -> Any:
    """An intrinsic `load(sums)`: those of `groups` groups of rows of blocks that lie FLOATS bytes apart."""
    width = 2 * groups * VECTORS

    @intrinsic
    def load(tyctx: Any, sums: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            places = [at(b, args[0], FLOATS * r + VECTOR_BYTES * v) for r in range(rows) for v in range(width)]
            return cgutils.pack_array(b, [b.load(pointer(b, place, f32v.llvm), align=1) for place in places])

        return types.UniTuple(f32v, rows * width)(types.int64), codegen

    return load


def down_store(rows: int, groups: int) -> Any:
    """An intrinsic `store(acc, sums)`: the inverse of down_load."""
    width = 2 * groups * VECTORS
    kind = types.UniTuple(f32v, rows * width)

    @intrinsic
    def store(tyctx: Any, acc: Any, sums: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            for i, value in enumerate(cgutils.unpack_tuple(b, args[0])):
                place = at(b, args[1], FLOATS * (i // width) + VECTOR_BYTES * (i % width))
                b.store(value, pointer(b, place, f32v.llvm), align=1)
            return ctx.get_dummy_value()

        return types.void(kind, types.int64), codegen

    return store
