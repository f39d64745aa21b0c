"""Products of grouped weights, many rows at once: weights unpacked to a panel in scratch, then tiles of rows x vectors.

Import from here, not through the package. Which rows and columns a tile covers is the kernel's business (matmul/).

A panel is PANEL_BLOCKS blocks of 16 columns side by side, one group of 32 k after the other: 8 lines of 4 k (64 bytes
per block: column, k), a line of float32 scales, and for q4m one of minima. What a byte of a line is depends on the
level: the weight itself, or `excess` more where the dot product wants its first operand unsigned.
x is rows of g32: int8 values, then float32 scales, then int32 sums of the values of each group.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.arith import emit_multiply_words
from edgert.kernels_cpu.simd.groups import GROUPS, LINE, Grouped, at, emit_fma
from edgert.kernels_cpu.simd.groups import QUADS as STEPS
from edgert.kernels_cpu.simd.half import emit_load_half
from edgert.kernels_cpu.simd.target import ARCH, LANES, has
from edgert.kernels_cpu.simd.types import (
    F32,
    I16,
    I32,
    I64,
    VB,
    call,
    const,
    f32v,
    halves,
    i8v,
    i16v,
    i32v,
    pointer,
    splat,
)  # fmt: skip

PANEL_BLOCKS = 2 if VB == 64 else 1
"""Blocks of 16 columns in a panel: two vectors at least."""
PITCH = LINE * PANEL_BLOCKS
"""Bytes from a line of a panel to the next."""


def group_bytes(form: Grouped) -> int:
    """Of one group in a panel."""
    return PITCH * (STEPS + 1 + form.minima)


def excess(form: Grouped) -> int:
    """What the bytes of a panel are more than number - zero. With it they are unsigned: vpdpbusd takes them so, and so
    does vpmaddubsw, which sums 16 products of nibbles in 16 bits, but of whole bytes not even two."""
    if has("vnni") or (has("avx2") and form.nibbles):
        return form.zero if form.nibbles else 128
    return 0


def _load(b: Any, address: Any, t: Any) -> Any:
    return b.load(pointer(b, address, t), align=1)


def _store(b: Any, value: Any, address: Any) -> None:
    b.store(value, pointer(b, address, value.type), align=1)


def unpack_block(form: Grouped, more: int) -> Any:
    """An intrinsic `unpack(w, panel)`: the 16 rows x 64 k at w become a block of two groups of a panel, whose bytes are
    number - zero + more (`excess`, or 0)."""

    def line(b: Any, number: Any) -> Any:
        if form.nibbles:
            less = form.zero - more
            return b.sub(number, const(number.type, less)) if less else number
        return b.xor(number, const(number.type, -128)) if more else number

    def group(b: Any, w: Any, factors: Any, panel: Any) -> None:
        for v in range(0, LINE, VB):
            for j in range(form.lines):
                bytes_ = _load(b, at(b, w, LINE * j + v), i8v.llvm)
                if form.nibbles:
                    low, high = b.and_(bytes_, const(bytes_.type, 15)), b.lshr(bytes_, const(bytes_.type, 4))
                    _store(b, line(b, low), at(b, panel, PITCH * j + v))
                    _store(b, line(b, high), at(b, panel, PITCH * (j + 4) + v))
                else:
                    _store(b, line(b, bytes_), at(b, panel, PITCH * j + v))
            for f in range(1 + form.minima):
                factor = emit_load_half(b, at(b, factors, LINE * f + v // 2), LANES)
                _store(b, factor, at(b, panel, PITCH * (STEPS + f) + v))

    @intrinsic
    def unpack(tyctx: Any, w: Any, panel: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            w, panel = args
            for g in range(GROUPS):
                factors = at(b, w, form.factors + LINE // GROUPS * g)
                group(b, at(b, w, LINE * form.lines * g), factors, at(b, panel, group_bytes(form) * g))
            return ctx.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return unpack


def _repeat(b: Any, count: int, values: list[Any], body: Callable[[list[Any], Any], list[Any]]) -> list[Any]:
    """values = body(values, i) for i below `count`, as a loop: of steps that are written out LLVM would reorder the
    sums, move all loads to the beginning and run out of registers."""
    before, loop, after = b.block, b.append_basic_block("steps"), b.append_basic_block("summed")
    b.branch(loop)
    b.position_at_end(loop)
    index, phis = b.phi(I64), [b.phi(v.type) for v in values]
    made = body(phis, index)
    following = b.add(index, ir.Constant(I64, 1))
    b.cbranch(b.icmp_signed("<", following, ir.Constant(I64, count)), loop, after)
    for phi, first, next_ in zip([index, *phis], [ir.Constant(I64, 0), *values], [following, *made], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(next_, b.block)
    b.position_at_end(after)
    return made


class _Sums(ABC):
    """Integer dot products of a tile over one group, in what the level sums them in: `begin`, steps, `end`."""

    unroll = 2
    """Steps of the loop's body."""

    def __init__(self, b: Any, form: Grouped, rows: int, vectors: int) -> None:
        self.b, self.form, self.rows, self.vectors = b, form, rows, vectors

    def products(self, start: list[Any], x: list[Any], panel: Any) -> list[Any]:
        """start[r] + dot products, element r * vectors + v, of the values at x[r] with the lines at `panel`."""
        b = self.b

        def body(sums: list[Any], index: Any) -> list[Any]:
            sums = list(sums)
            values = [b.add(row, b.mul(index, ir.Constant(I64, 4 * self.unroll))) for row in x]
            self.steps(sums, values, b.add(panel, b.mul(index, ir.Constant(I64, PITCH * self.unroll))))
            return sums

        wide = [start[r] for r in range(self.rows) for _ in range(self.vectors)]
        return self.end(_repeat(b, STEPS // self.unroll, self.begin(wide), body), wide)

    def begin(self, start: list[Any]) -> list[Any]:
        return start

    def end(self, sums: list[Any], start: list[Any]) -> list[Any]:
        return sums

    def steps(self, sums: list[Any], x: list[Any], panel: Any) -> None:
        """The steps of one body."""
        for step in range(self.unroll):
            lines = [
                self.line(_load(self.b, at(self.b, panel, PITCH * step + VB * v), i8v.llvm))
                for v in range(self.vectors)
            ]
            for r in range(self.rows):
                four = self.four(x[r], step)
                for v, line in enumerate(lines):
                    self.add(sums, r * self.vectors + v, line, four)

    def four(self, x: Any, step: int) -> Any:
        """4 k of a row, repeated."""
        b = self.b
        return b.bitcast(splat(b, _load(b, at(b, x, 4 * step), I32), i32v.llvm), i8v.llvm)

    def line(self, line: Any) -> Any:
        """What add takes of a line."""
        return line

    @abstractmethod
    def add(self, sums: list[Any], i: int, line: Any, four: Any) -> None:
        """Adds the products of a line and 4 k of a row to sum number i."""


class _Vnni(_Sums):
    def add(self, sums: list[Any], i: int, line: Any, four: Any) -> None:
        sums[i] = call(self.b, f"llvm.x86.avx512.vpdpbusd.{8 * VB}", i32v.llvm, sums[i], line, four)


class _NibblesAvx2(_Sums):
    """16 products of at most 15 * 128 fit in 16 bits, so that pairs widen once per group."""

    def begin(self, start: list[Any]) -> list[Any]:
        return [const(i16v.llvm, 0)] * len(start)

    def add(self, sums: list[Any], i: int, line: Any, four: Any) -> None:
        sums[i] = self.b.add(sums[i], call(self.b, "llvm.x86.avx2.pmadd.ub.sw", i16v.llvm, line, four))

    def end(self, sums: list[Any], start: list[Any]) -> list[Any]:
        b, ones = self.b, const(i16v.llvm, 1)
        return [
            b.add(s, call(b, "llvm.x86.avx2.pmadd.wd", i32v.llvm, pairs, ones))
            for s, pairs in zip(start, sums, strict=True)
        ]


class _BytesAvx2(_Sums):
    """|w| * (x with the sign of w): two products of at most 128 * 127 fit in 16 bits."""

    def line(self, line: Any) -> Any:
        return line, call(self.b, f"llvm.abs.v{VB}i8", i8v.llvm, line, ir.Constant(ir.IntType(1), 0))

    def add(self, sums: list[Any], i: int, line: Any, four: Any) -> None:
        b, (sign, size) = self.b, line
        signed = call(b, "llvm.x86.avx2.psign.b", i8v.llvm, four, sign)
        pairs = call(b, "llvm.x86.avx2.pmadd.ub.sw", i16v.llvm, size, signed)
        sums[i] = b.add(sums[i], call(b, "llvm.x86.avx2.pmadd.wd", i32v.llvm, pairs, const(i16v.llvm, 1)))


class _Words(_Sums):
    """Even and odd bytes as 16-bit values, whose products are added in pairs."""

    def line(self, line: Any) -> Any:
        b, eight = self.b, const(i16v.llvm, 8)
        words = b.bitcast(line, i16v.llvm)
        return b.ashr(b.shl(words, eight), eight), b.ashr(words, eight)

    def four(self, x: Any, step: int) -> Any:
        return self.line(super().four(x, step))

    def add(self, sums: list[Any], i: int, line: Any, four: Any) -> None:
        for w, f in zip(line, four, strict=True):
            sums[i] = self.b.add(sums[i], emit_multiply_words(self.b, w, f))


class _Dotprod(_Sums):
    """sdot by lane: one load of x serves four steps."""

    unroll = 4

    def four(self, x: Any, step: int) -> Any:
        many = _load(self.b, x, i32v.llvm)
        return self.b.bitcast(self.b.shuffle_vector(many, many, const(i32v.llvm, step)), i8v.llvm)

    def add(self, sums: list[Any], i: int, line: Any, four: Any) -> None:
        sums[i] = call(self.b, "llvm.aarch64.neon.sdot.v4i32.v16i8", i32v.llvm, sums[i], line, four)


_WORDS8 = ir.VectorType(I16, 8)


class _NibblesNeon(_Sums):
    """smull and smlal: 8 products of at most 15 * 128 fit in 16 bits, and so do two such sums. Sums 2 i and 2 i + 1
    are those of the halves of a vector."""

    def begin(self, start: list[Any]) -> list[Any]:
        return [const(_WORDS8, 0)] * (2 * len(start))

    def line(self, line: Any) -> Any:
        return halves(self.b, line)

    def four(self, x: Any, step: int) -> Any:
        return halves(self.b, super().four(x, step))

    def add(self, sums: list[Any], i: int, line: Any, four: Any) -> None:
        for half, (w, f) in enumerate(zip(line, four, strict=True), 2 * i):
            sums[half] = self.b.add(sums[half], call(self.b, "llvm.aarch64.neon.smull.v8i16", _WORDS8, w, f))

    def end(self, sums: list[Any], start: list[Any]) -> list[Any]:
        b = self.b
        pairs = [call(b, "llvm.aarch64.neon.addp.v8i16", _WORDS8, *p) for p in zip(sums[::2], sums[1::2], strict=True)]
        wide = [call(b, "llvm.aarch64.neon.saddlp.v4i32.v8i16", i32v.llvm, p) for p in pairs]
        return [b.add(s, w) for s, w in zip(start, wide, strict=True)]


class _BytesNeon(_NibblesNeon):
    """Two products of at most 128 * 127 fit in 16 bits."""

    def begin(self, start: list[Any]) -> list[Any]:
        return [const(i32v.llvm, 0)] * (2 * len(start))

    def steps(self, sums: list[Any], x: list[Any], panel: Any) -> None:
        b = self.b
        pairs = [const(_WORDS8, 0)] * len(sums)
        super().steps(pairs, x, panel)
        for i, pair in enumerate(pairs):
            sums[i] = b.add(sums[i], call(b, "llvm.aarch64.neon.saddlp.v4i32.v8i16", i32v.llvm, pair))

    def end(self, sums: list[Any], start: list[Any]) -> list[Any]:
        b = self.b
        wide = [call(b, "llvm.aarch64.neon.addp.v4i32", i32v.llvm, *p) for p in zip(sums[::2], sums[1::2], strict=True)]
        return [b.add(s, w) for s, w in zip(start, wide, strict=True)]


def _sums(form: Grouped) -> type[_Sums]:
    if has("vnni"):
        return _Vnni
    if has("avx2"):
        return _NibblesAvx2 if form.nibbles else _BytesAvx2
    if has("dotprod"):
        return _Dotprod
    if ARCH == "aarch64":
        return _NibblesNeon if form.nibbles else _BytesNeon
    return _Words


def _accumulate(
    b: Any,
    form: Grouped,
    vectors: int,
    acc: list[Any],
    dots: list[Any],
    scales: list[Any],
    totals: list[Any],
    panel: Any,
) -> list[Any]:
    """The sums of a tile after a group: acc = fma(dot product, w_scale * x_scale, acc), and with minima then
    acc = fma(x_scale * total, minimum, acc). scales, totals: vectors, one per row; totals only with minima."""
    factors, minima = (
        [_load(b, at(b, panel, PITCH * (STEPS + line) + VB * v), f32v.llvm) for v in range(vectors)]
        for line in (0, 1 if form.minima else 0)
    )
    made = []
    for r, scale in enumerate(scales):
        scaled = b.fmul(scale, b.sitofp(totals[r], f32v.llvm)) if form.minima else None
        for v in range(vectors):
            i = r * vectors + v
            value = emit_fma(b, b.sitofp(dots[i], f32v.llvm), b.fmul(factors[v], scale), acc[i])
            made.append(emit_fma(b, scaled, minima[v], value) if form.minima else value)
    return made


def _every(b: Any, x: list[Any], offset: Any, element: Any, vec: Any) -> list[Any]:
    """The number at x[r] + offset of each row, repeated."""
    return [splat(b, _load(b, b.add(row, offset), element), vec) for row in x]


def group_step(form: Grouped, rows: int, vectors: int) -> Any:
    """An intrinsic `step(acc, x, value, scale, total, panel)`: one group of `rows` rows against `vectors` vectors of a
    panel, added to acc[r * vectors + v]. x is a tuple of the rows' addresses (row_starts); value, scale and total are
    the offsets in a row of the group's values, of its scale, and of the sum of the values."""
    kind, addresses = types.UniTuple(f32v, rows * vectors), types.UniTuple(types.int64, rows)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, value: Any, scale: Any, total: Any, panel: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, value, scale, total, panel = args
            acc, x = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, x)
            totals = _every(b, x, total, I32, i32v.llvm)
            start = [b.mul(total, const(i32v.llvm, -excess(form))) for total in totals]
            dots = _sums(form)(b, form, rows, vectors).products(start, [b.add(row, value) for row in x], panel)
            scales = _every(b, x, scale, F32, f32v.llvm)
            return cgutils.pack_array(b, _accumulate(b, form, vectors, acc, dots, scales, totals, panel))

        i = types.int64
        return kind(kind, addresses, i, i, i, i), codegen

    return step


def group_add(form: Grouped, rows: int) -> Any:
    """An intrinsic `add(acc, x, dots, scale, total, panel)`: as group_step with one vector, but the dot products are
    there already, in lines of 64 bytes from address `dots` on."""
    kind, addresses = types.UniTuple(f32v, rows), types.UniTuple(types.int64, rows)

    @intrinsic
    def add(tyctx: Any, acc: Any, x: Any, dots: Any, scale: Any, total: Any, panel: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, dots, scale, total, panel = args
            acc, x = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, x)
            products = [_load(b, at(b, dots, LINE * r), i32v.llvm) for r in range(rows)]
            scales = _every(b, x, scale, F32, f32v.llvm)
            totals = _every(b, x, total, I32, i32v.llvm) if form.minima else []
            return cgutils.pack_array(b, _accumulate(b, form, 1, acc, products, scales, totals, panel))

        i = types.int64
        return kind(kind, addresses, i, i, i, i), codegen

    return add
