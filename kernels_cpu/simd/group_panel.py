"""Products of grouped weights, many rows at once: weights unpacked to a panel in scratch, then tiles of rows x vectors.

Import from here, not through the package. Which rows and columns a tile covers is the kernel's business (matmul/).

A panel is PANEL_BLOCKS blocks of 16 columns side by side, one group of 32 k after the other: 8 lines of 4 k (64 bytes
per block: column, k), a line of float32 scales, and for q4m one of minima. What a byte of a line is depends on the
level: the weight itself, or `Form.excess` more where the dot product wants its first operand unsigned.
x is rows of g32: int8 values, then float32 scales, then int32 sums of the values of each group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.half import emit_load_half
from edgert.kernels_cpu.simd.target import ARCH, LANES, has
from edgert.kernels_cpu.simd.types import (
    F32,
    F64,
    I8,
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

LINE = 64
STEPS = 8
"""Lines of a group: 4 k each."""
PANEL_BLOCKS = 2 if VB == 64 else 1
"""Blocks of 16 columns in a panel: two vectors at least."""
PITCH = LINE * PANEL_BLOCKS
"""Bytes from a line of a panel to the next."""


@dataclass(frozen=True)
class Form:
    """An encoding of grouped weights: weight = scale * (number - zero) + minimum."""

    nibbles: bool
    """Two numbers to a byte, 0..15; else one, -128..127."""
    zero: int
    minima: bool

    @property
    def block_bytes(self) -> int:
        """Of 16 rows x 64 k in the file."""
        return LINE * ((8 if self.nibbles else 16) + 1 + self.minima)

    @property
    def group_bytes(self) -> int:
        """Of one group in a panel."""
        return PITCH * (STEPS + 1 + self.minima)

    @property
    def excess(self) -> int:
        """What the bytes of a panel are more than number - zero. With it they are unsigned: vpdpbusd takes them so,
        and so does vpmaddubsw, which sums 16 products of numbers below 16 in 16 bits, but of whole bytes not two."""
        if has("avx512vnni") or (has("avx2") and self.nibbles):
            return self.zero if self.nibbles else 128
        return 0


Q4, Q4M, Q8G = Form(True, 8, False), Form(True, 0, True), Form(False, 0, False)


def _at(b: Any, address: Any, offset: int) -> Any:
    return b.add(address, ir.Constant(I64, offset)) if offset else address


def _row(b: Any, address: Any, stride: Any, row: int) -> Any:
    return b.add(address, b.mul(stride, ir.Constant(I64, row))) if row else address


def _load(b: Any, address: Any, t: Any) -> Any:
    return b.load(pointer(b, address, t), align=1)


def _store(b: Any, value: Any, address: Any) -> None:
    b.store(value, pointer(b, address, value.type), align=1)


def emit_fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z with one rounding at every level, as the word `fma` (arith.py): rows must not differ by kernel."""
    if has("fma"):
        return call(b, f"llvm.fma.v{x.type.count}f32", x.type, x, y, z)
    wide = ir.VectorType(F64, x.type.count)
    return b.fptrunc(b.fadd(b.fmul(b.fpext(x, wide), b.fpext(y, wide)), b.fpext(z, wide)), x.type)


def unpack_block(form: Form) -> Any:
    """An intrinsic `unpack(w, panel)`: the 16 rows x 64 k at w become a block of two groups of a panel."""

    def line(b: Any, number: Any) -> Any:
        if form.nibbles:
            less = form.zero - form.excess
            return b.sub(number, const(number.type, less)) if less else number
        return b.xor(number, const(number.type, -128)) if form.excess else number

    def group(b: Any, w: Any, factors: Any, panel: Any) -> None:
        for v in range(0, LINE, VB):
            for j in range(4 if form.nibbles else STEPS):
                bytes_ = _load(b, _at(b, w, LINE * j + v), i8v.llvm)
                if form.nibbles:
                    low, high = b.and_(bytes_, const(bytes_.type, 15)), b.lshr(bytes_, const(bytes_.type, 4))
                    _store(b, line(b, low), _at(b, panel, PITCH * j + v))
                    _store(b, line(b, high), _at(b, panel, PITCH * (j + 4) + v))
                else:
                    _store(b, line(b, bytes_), _at(b, panel, PITCH * j + v))
            for f in range(1 + form.minima):
                factor = emit_load_half(b, _at(b, factors, LINE * f + v // 2), LANES)
                _store(b, factor, _at(b, panel, PITCH * (STEPS + f) + v))

    @intrinsic
    def unpack(tyctx: Any, w: Any, panel: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            w, panel = args
            lines = LINE * (4 if form.nibbles else STEPS)
            for g in range(2):
                factors = _at(b, w, 2 * lines + LINE // 2 * g)
                group(b, _at(b, w, lines * g), factors, _at(b, panel, form.group_bytes * g))
            return ctx.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return unpack


class _Sums:
    """Integer dot products of a tile over one group, in what the level sums them in."""

    def __init__(self, b: Any, form: Form, rows: int, vectors: int, x: Any, x_row: Any, panel: Any) -> None:
        self.b, self.form, self.rows, self.vectors = b, form, rows, vectors
        self.x = [_row(b, x, x_row, r) for r in range(rows)]
        self.panel = panel

    def four(self, r: int, step: int) -> Any:
        """4 k of row r, repeated."""
        b = self.b
        return b.bitcast(splat(b, _load(b, _at(b, self.x[r], 4 * step), I32), i32v.llvm), i8v.llvm)

    def line(self, v: int, step: int) -> Any:
        return _load(self.b, _at(self.b, self.panel, PITCH * step + VB * v), i8v.llvm)

    def products(self, start: list[Any]) -> list[Any]:
        """start[r] + dot products: element r * vectors + v."""
        if has("avx512vnni"):
            return self._vnni(start)
        if has("avx2"):
            return self._nibbles_avx2(start) if self.form.nibbles else self._bytes_avx2(start)
        if has("dotprod"):
            return self._dotprod(start)
        return self._neon(start) if ARCH == "aarch64" else self._words(start)

    def _all(self, start: list[Any]) -> list[Any]:
        return [start[r] for r in range(self.rows) for _ in range(self.vectors)]

    def _vnni(self, start: list[Any]) -> list[Any]:
        b, sums = self.b, self._all(start)
        for step in range(STEPS):
            lines = [self.line(v, step) for v in range(self.vectors)]
            for r in range(self.rows):
                four = self.four(r, step)
                for v, line in enumerate(lines):
                    i = r * self.vectors + v
                    sums[i] = call(b, "llvm.x86.avx512.vpdpbusd.512", i32v.llvm, sums[i], line, four)
        return sums

    def _nibbles_avx2(self, start: list[Any]) -> list[Any]:
        """16 products of at most 15 * 128 fit in 16 bits, so that pairs widen once per group."""
        b, pairs = self.b, [None] * (self.rows * self.vectors)
        for step in range(STEPS):
            lines = [self.line(v, step) for v in range(self.vectors)]
            for r in range(self.rows):
                four = self.four(r, step)
                for v, line in enumerate(lines):
                    i = r * self.vectors + v
                    pair = call(b, "llvm.x86.avx2.pmadd.ub.sw", i16v.llvm, line, four)
                    pairs[i] = pair if step == 0 else b.add(pairs[i], pair)
        ones = const(i16v.llvm, 1)
        wide = [call(b, "llvm.x86.avx2.pmadd.wd", i32v.llvm, pair, ones) for pair in pairs]
        return [b.add(s, w) for s, w in zip(self._all(start), wide, strict=True)]

    def _bytes_avx2(self, start: list[Any]) -> list[Any]:
        """|w| * (x with the sign of w): two products of at most 128 * 127 fit in 16 bits."""
        b, sums, ones = self.b, self._all(start), const(i16v.llvm, 1)
        for step in range(STEPS):
            for v in range(self.vectors):
                line = self.line(v, step)
                size = call(b, f"llvm.abs.v{VB}i8", i8v.llvm, line, ir.Constant(ir.IntType(1), 0))
                for r in range(self.rows):
                    i = r * self.vectors + v
                    signed = call(b, "llvm.x86.avx2.psign.b", i8v.llvm, self.four(r, step), line)
                    pair = call(b, "llvm.x86.avx2.pmadd.ub.sw", i16v.llvm, size, signed)
                    sums[i] = b.add(sums[i], call(b, "llvm.x86.avx2.pmadd.wd", i32v.llvm, pair, ones))
        return sums

    def _dotprod(self, start: list[Any]) -> list[Any]:
        """sdot by lane: one load of x serves four steps."""
        b, sums = self.b, self._all(start)
        for step in range(STEPS):
            if step % 4 == 0:
                many = [_load(b, _at(b, x, 4 * step), i32v.llvm) for x in self.x]
            lines = [self.line(v, step) for v in range(self.vectors)]
            for r in range(self.rows):
                lane = b.shuffle_vector(many[r], many[r], const(i32v.llvm, step % 4))
                four = b.bitcast(lane, i8v.llvm)
                for v, line in enumerate(lines):
                    i = r * self.vectors + v
                    sums[i] = call(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", i32v.llvm, sums[i], line, four)
        return sums

    def _neon(self, start: list[Any]) -> list[Any]:
        """smull and smlal sum in 16 bits: a whole group of nibbles, two steps of bytes (128 * 127 twice)."""
        b, words, nibbles = self.b, ir.VectorType(I16, 8), self.form.nibbles
        none = const(i32v.llvm, 0)
        sums = [[none, none] for _ in range(self.rows * self.vectors)]
        pairs: list[list[Any]] = [[] for _ in sums]
        for step in range(STEPS):
            lines = [halves(b, self.line(v, step)) for v in range(self.vectors)]
            for r in range(self.rows):
                four = halves(b, self.four(r, step))
                for v in range(self.vectors):
                    i = r * self.vectors + v
                    part = [
                        call(b, "llvm.aarch64.neon.smull.v8i16", words, w, f) for w, f in zip(lines[v], four, strict=True)
                    ]
                    pairs[i] = [b.add(s, p) for s, p in zip(pairs[i], part, strict=True)] if pairs[i] else part
                    if step % 2 and not nibbles:
                        wide = [call(b, "llvm.aarch64.neon.saddlp.v4i32.v8i16", i32v.llvm, p) for p in pairs[i]]
                        sums[i], pairs[i] = [b.add(s, w) for s, w in zip(sums[i], wide, strict=True)], []
        if nibbles:
            folded = [call(b, "llvm.aarch64.neon.addp.v8i16", words, *p) for p in pairs]
            done = [call(b, "llvm.aarch64.neon.saddlp.v4i32.v8i16", i32v.llvm, f) for f in folded]
        else:
            done = [call(b, "llvm.aarch64.neon.addp.v4i32", i32v.llvm, *s) for s in sums]
        return [b.add(s, d) for s, d in zip(self._all(start), done, strict=True)]

    def _words(self, start: list[Any]) -> list[Any]:
        """SSE2: even and odd bytes as 16-bit values."""
        b, sums, words, eight = self.b, self._all(start), i16v.llvm, const(i16v.llvm, 8)

        def split(v: Any) -> tuple[Any, Any]:
            v = b.bitcast(v, words)
            return b.ashr(b.shl(v, eight), eight), b.ashr(v, eight)

        for step in range(STEPS):
            lines = [split(self.line(v, step)) for v in range(self.vectors)]
            for r in range(self.rows):
                fours = split(self.four(r, step))
                for v in range(self.vectors):
                    i = r * self.vectors + v
                    for line, four in zip(lines[v], fours, strict=True):
                        sums[i] = b.add(sums[i], call(b, "llvm.x86.sse2.pmadd.wd", i32v.llvm, line, four))
        return sums


def group_step(form: Form, rows: int, vectors: int) -> Any:
    """An intrinsic `step(acc, x, x_row, scale, sums, panel)`: one group of `rows` rows against `vectors` vectors of a
    panel, added to acc[r * vectors + v]. x is the address of the group's values of the first row, `scale` and `sums`
    of its scale and of the sum of its values; rows are x_row bytes apart.

    acc = fma(dot product, w_scale * x_scale, acc), and with minima acc = fma(x_scale * sum, minimum, acc)."""
    kind = types.UniTuple(f32v, rows * vectors)

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        acc, x, x_row, scale, sums, panel = args
        acc = cgutils.unpack_tuple(b, acc)
        totals = [splat(b, _load(b, _row(b, sums, x_row, r), I32), i32v.llvm) for r in range(rows)]
        start = [b.mul(total, const(i32v.llvm, -form.excess)) for total in totals]
        dots = _Sums(b, form, rows, vectors, x, x_row, panel).products(start)
        factors = [_load(b, _at(b, panel, PITCH * STEPS + VB * v), f32v.llvm) for v in range(vectors)]
        minima = [
            _load(b, _at(b, panel, PITCH * (STEPS + 1) + VB * v), f32v.llvm) for v in range(vectors * form.minima)
        ]
        for r in range(rows):
            x_scale = splat(b, _load(b, _row(b, scale, x_row, r), F32), f32v.llvm)
            for v in range(vectors):
                i = r * vectors + v
                acc[i] = emit_fma(b, b.sitofp(dots[i], f32v.llvm), b.fmul(factors[v], x_scale), acc[i])
            if form.minima:
                scaled = b.fmul(x_scale, b.sitofp(totals[r], f32v.llvm))
                for v in range(vectors):
                    i = r * vectors + v
                    acc[i] = emit_fma(b, scaled, minima[v], acc[i])
        return cgutils.pack_array(b, acc)

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, x_row: Any, scale: Any, sums: Any, panel: Any) -> Any:
        i = types.int64
        return kind(kind, i, i, i, i, i), codegen

    return step
