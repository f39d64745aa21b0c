"""Blocks of 16 rows x 64 k of which some numbers are kept: bit masks, scales, then those numbers, one by one.

Import from here, not through the package. The blocks are those of the encodings bitmap8 and bitmap4, hence of nm8 and
nm4 (docs/format.md): 16 masks of 64 bits, bit 4r + b for row r and k = 4s + b of line s; 2 x 16 float16 scales; then
the numbers. Expanded, they are the lines of the dense twins q8g and q4, whose arithmetic groups.py and group_panel.py
have.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd import helper, load_i8, load_i64, load_u8, prefetch, store_f32v, store_i8, store_i64
from edgert.kernels_cpu.simd.group_panel import PITCH, excess, group_bytes
from edgert.kernels_cpu.simd.groups import GROUPS, LINE, QUADS, VECTORS, Grouped, at, emit_fma
from edgert.kernels_cpu.simd.half import emit_load_half, load_f16v
from edgert.kernels_cpu.simd.target import ARCH, LANES, has
from edgert.kernels_cpu.simd.types import (
    F32,
    I1,
    I8,
    I32,
    I64,
    VB,
    VOID,
    call,
    concat,
    const,
    f32v,
    i8v,
    i32v,
    pointer,
    shuffle,
    splat,
    undef,
)  # fmt: skip

LINES = GROUPS * QUADS
"""Of a block."""
MASKS = 8 * LINES
"""Bytes of the masks; scales follow."""
HEADER = MASKS + LINE
"""Bytes before the kept numbers."""
LONGEST = HEADER + LINES * LINE + LINE
"""Bytes that may be read at a block: those of a whole one, as each line is read 64 bytes long."""


def whole_block(longest: int) -> Any:
    """A function `whole(w, end, scratch)`: the block at w, or where reading it, `longest` bytes, would go beyond the
    end of all blocks, a copy of it in scratch, which has so many."""

    @helper
    def whole(w, end, scratch):  # type: ignore[no-untyped-def]
        if w + longest <= end:
            return w
        for i in range(0, end - w, 8):
            store_i64(scratch + i, load_i64(w + i))
        return scratch

    return whole


def _load(b: Any, address: Any, t: Any) -> Any:
    return b.load(pointer(b, address, t), align=1)


def _ones(b: Any, mask: Any) -> Any:
    return call(b, "llvm.ctpop.i64", I64, mask)


def _bytes(b: Any, form: Grouped, count: Any) -> Any:
    """Of `count` numbers, rounded down."""
    return b.lshr(count, ir.Constant(I64, 1)) if form.nibbles else count


def _size(b: Any, form: Grouped, count: Any) -> Any:
    """Bytes of a block with `count` numbers: the next begins at a multiple of 8."""
    unit = 16 if form.nibbles else 8
    whole = b.and_(at(b, count, unit - 1), ir.Constant(I64, -unit))
    return at(b, _bytes(b, form, whole), HEADER)


# ---- one line: `mask` tells which of 64 numbers are kept, the first of them is number `offset` after address `kept`.
# It becomes 64 bytes of number - zero + more.
def _expand(b: Any, form: Grouped, kept: Any, offset: Any, mask: Any, more: int) -> Any:
    """By vpexpandb. What is not kept comes from a register even where it is 0: with zero-masking the instruction waits,
    on some processors (Zen 5), for what its target was before."""
    if form.nibbles:
        numbers, absent, less = _nibbles(b, kept, offset), form.zero, form.zero - more
    else:
        numbers, absent, less = _load(b, b.add(kept, offset), i8v.llvm), 0, 0
        if more:
            numbers, absent = b.xor(numbers, const(i8v.llvm, -128)), -128
    bits = b.bitcast(mask, ir.VectorType(I1, LINE))
    line = call(b, "llvm.x86.avx512.mask.expand.v64i8", i8v.llvm, numbers, const(i8v.llvm, absent), bits)
    return b.sub(line, const(i8v.llvm, less)) if less else line


def _places(b: Any) -> Any:
    """The address of the bits at which eight numbers begin in eight bytes: of an even, then of an odd first one."""
    name, kind = "edgert_nibble_places", ir.VectorType(I8, 16)
    table = b.module.globals.get(name)
    if table is None:
        table = ir.GlobalVariable(b.module, kind, name)
        table.linkage, table.global_constant, table.align = "internal", True, 16
        table.initializer = const(kind, [*range(0, 32, 4), *range(4, 36, 4)])
    return b.ptrtoint(table, I64)


def _nibbles(b: Any, kept: Any, offset: Any) -> Any:
    """64 nibbles from number `offset` on, which may be the second of a byte, as bytes."""
    one = ir.Constant(I64, 1)
    packed = _load(b, b.add(kept, b.lshr(offset, one)), i8v.llvm)
    # for each eight numbers the eight bytes that hold them; then number after number
    spread = const(i8v.llvm, [4 * (i // 8) + i % 8 for i in range(LINE)])
    packed = call(b, "llvm.x86.avx512.permvar.qi.512", i8v.llvm, packed, spread)
    eight = _load(b, b.add(_places(b), b.shl(b.and_(offset, one), ir.Constant(I64, 3))), I64)
    places = b.bitcast(splat(b, eight, ir.VectorType(I64, LINE // 8)), i8v.llvm)
    numbers = call(b, "llvm.x86.avx512.pmultishift.qb.512", i8v.llvm, places, packed)
    return b.and_(numbers, const(i8v.llvm, 15))


def _ranks(b: Any, mask: Any, v: int) -> Any:
    """For the bytes of vector v of a line, which of the numbers of its 16 each is; 255 where none is kept."""
    whole = b.bitcast(splat(b, mask, ir.VectorType(I64, VB // 8)), i8v.llvm)
    own = shuffle(b, whole, undef(whole.type), [i // 16 * 16 + (VB * v + i) // 8 for i in range(VB)])
    bits = const(i8v.llvm, [1 << i % 8 for i in range(VB)])
    chosen = b.sext(b.icmp_unsigned("==", b.and_(own, bits), bits), i8v.llvm)
    count, eights = chosen, ir.VectorType(I64, VB // 8)  # minus how many there are up to each
    for shift in (8, 16, 32):
        count = b.add(count, b.bitcast(b.shl(b.bitcast(count, eights), const(eights, shift)), i8v.llvm))
    below = [i // 16 * 16 + 7 if i % 16 >= 8 else VB for i in range(VB)]
    count = b.add(count, shuffle(b, count, const(i8v.llvm, 0), below))
    return b.xor(b.and_(count, chosen), const(i8v.llvm, -1))


def _numbers(b: Any, form: Grouped, kept: Any, offsets: list[Any]) -> Any:
    """16 numbers - zero from each of the offsets on, as a vector of bytes."""
    if not form.nibbles:
        parts = [_load(b, b.add(kept, offset), ir.VectorType(I8, 16)) for offset in offsets]
        return parts[0] if len(parts) == 1 else concat(b, *parts)
    packed = undef(ir.VectorType(I64, len(offsets)))
    for i, offset in enumerate(offsets):
        place = b.add(kept, b.lshr(offset, ir.Constant(I64, 1)))
        shift = b.shl(b.and_(offset, ir.Constant(I64, 1)), ir.Constant(I64, 2))
        last = b.shl(b.zext(_load(b, at(b, place, 8), I8), I64), ir.Constant(I64, 1))
        word = b.or_(b.lshr(_load(b, place, I64), shift), b.shl(last, b.sub(ir.Constant(I64, 63), shift)))
        packed = b.insert_element(packed, word, ir.Constant(I32, i))
    pairs = b.bitcast(packed, ir.VectorType(I8, VB // 2))
    low, high = b.and_(pairs, const(pairs.type, 15)), b.lshr(pairs, const(pairs.type, 4))
    numbers = shuffle(b, low, high, [i // 2 + VB // 2 * (i % 2) for i in range(VB)])
    return b.sub(numbers, const(numbers.type, form.zero))


def _line_expanded(form: Grouped, more: int) -> Any:
    @intrinsic
    def line(tyctx: Any, kept: Any, offset: Any, mask: Any, to: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            kept, offset, mask, to = args
            b.store(_expand(b, form, kept, offset, mask, more), pointer(b, to, i8v.llvm), align=1)
            return b.add(offset, _ones(b, mask))

        i64 = types.int64
        return i64(i64, i64, i64, i64), codegen

    return line


def _line_shuffled(form: Grouped, more: int) -> Any:
    """By shuffles of 16 bytes, whose indices are counted from the mask."""

    @intrinsic
    def line(tyctx: Any, kept: Any, offset: Any, mask: Any, to: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            kept, offset, mask, to = args
            before = [offset]
            for i in range(1, LINE // 16):
                before.append(b.add(offset, _ones(b, b.shl(mask, ir.Constant(I64, LINE - 16 * i)))))
            name = "llvm.aarch64.neon.tbl1.v16i8" if ARCH == "aarch64" else "llvm.x86.avx2.pshuf.b"
            for v in range(VECTORS):
                numbers = _numbers(b, form, kept, before[VB // 16 * v : VB // 16 * (v + 1)])
                found = call(b, name, i8v.llvm, numbers, _ranks(b, mask, v))
                if more:
                    found = b.add(found, const(i8v.llvm, more if more < 128 else more - 256))
                b.store(found, pointer(b, at(b, to, VB * v), i8v.llvm), align=1)
            return b.add(offset, _ones(b, mask))

        i64 = types.int64
        return i64(i64, i64, i64, i64), codegen

    return line


def _line_by_bytes(form: Grouped, more: int) -> Any:
    nibbles, zero = form.nibbles, form.zero

    @helper
    def line(kept, offset, mask, to):  # type: ignore[no-untyped-def]
        for i in range(LINE):
            bit = (mask >> i) & 1
            if nibbles:
                number = ((load_u8(kept + (offset >> 1)) >> 4 * (offset & 1)) & 15) - zero
            else:
                number = load_i8(kept + offset)
            store_i8(to + i, (number & -bit) + more)
            offset += bit
        return offset

    return line


def _line(form: Grouped, more: int) -> Any:
    """A function `line(kept, offset, mask, to)` -> the offset of the next line: a line becomes bytes at `to`."""
    if has("expand"):
        return _line_expanded(form, more)
    if has("avx2") or ARCH == "aarch64":
        return _line_shuffled(form, more)
    return _line_by_bytes(form, more)


def bitmap_unpack(form: Grouped, ahead: int, more: int) -> Any:
    """A function `unpack(w, end, spare, panel)` -> the address of the next block: that at w becomes two groups of a
    panel (group_panel.py) with bytes that are number - zero + more. end: that of all blocks; spare: LONGEST bytes of
    scratch. It brings near what lies `ahead` bytes further."""
    whole = whole_block(LONGEST)
    line, group, half = _line(form, more), group_bytes(form), int(form.nibbles)

    @intrinsic
    def size(tyctx: Any, count: Any) -> Any:
        return types.int64(types.int64), lambda ctx, b, sig, args: _size(b, form, args[0])

    @helper
    def unpack(w, end, spare, panel):  # type: ignore[no-untyped-def]
        block, offset = whole(w, end, spare), 0
        for line_ in range(0, HEADER, LINE):
            prefetch(w + ahead + line_)
        for g in range(GROUPS):
            lines = panel + group * g
            for s in range(QUADS):
                mask = load_i64(block + 8 * (QUADS * g + s))
                prefetch(w + ahead + HEADER + (offset >> half))
                offset = line(block + HEADER, offset, mask, lines + PITCH * s)
            for v in range(0, LINE, VB):
                factors = load_f16v(block + MASKS + LINE // GROUPS * g + v // 2)
                store_f32v(lines + PITCH * QUADS + v, factors)
        return w + size(offset)

    return unpack


# ---- one block against a few rows, without leaving the registers
def _prefetch(b: Any, address: Any) -> None:
    hints = [ir.Constant(I32, value) for value in (0, 3, 1)]
    call(b, "llvm.prefetch.p0", VOID, pointer(b, address, I8), *hints)


def bitmap_step(form: Grouped, rows: int, ahead: int) -> Any:
    """An intrinsic `step(acc, x, value, scale, total, w)` -> (acc, bytes of the block): as block_step (groups.py) for
    the block at w, of which only some numbers are kept, on levels with vpexpandb. It brings near what lies `ahead`
    bytes further."""
    kind, addresses = types.UniTuple(f32v, rows), types.UniTuple(types.int64, rows)
    both, more, dot = types.Tuple((kind, types.int64)), excess(form), f"llvm.x86.avx512.vpdpbusd.{8 * VB}"

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, value: Any, scale: Any, total: Any, w: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, value, scale, total, w = args
            values, starts = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, x)
            kept, offset = at(b, w, HEADER), ir.Constant(I64, 0)

            def every(offset: Any, place: int, element: Any, vec: Any) -> list[Any]:
                places = [at(b, b.add(start, offset), place) for start in starts]
                return [splat(b, _load(b, place, element), vec) for place in places]

            for line in range(0, HEADER, LINE):
                _prefetch(b, at(b, w, ahead + line))
            for g in range(GROUPS):
                sums = [
                    [b.mul(one, const(one.type, -more)), const(one.type, 0)]
                    for one in every(total, 4 * g, I32, i32v.llvm)
                ]
                for s in range(QUADS * g, QUADS * (g + 1)):
                    mask = _load(b, at(b, w, 8 * s), I64)
                    line = _expand(b, form, kept, offset, mask, more)
                    if s % 2 == 0 or not form.nibbles:
                        _prefetch(b, at(b, b.add(kept, _bytes(b, form, offset)), ahead))
                    offset = b.add(offset, _ones(b, mask))
                    for sum_, quad in zip(sums, every(value, 4 * s, I32, i32v.llvm), strict=True):
                        sum_[s % 2] = call(b, dot, quad.type, sum_[s % 2], line, b.bitcast(quad, i8v.llvm))
                factor = emit_load_half(b, at(b, w, MASKS + LINE // GROUPS * g), LANES)
                for r, x_scale in enumerate(every(scale, 4 * g, F32, f32v.llvm)):
                    product = b.sitofp(b.add(*sums[r]), f32v.llvm)
                    values[r] = emit_fma(b, product, b.fmul(factor, x_scale), values[r])
            return ctx.make_tuple(b, both, (cgutils.pack_array(b, values), _size(b, form, offset)))

        i64 = types.int64
        return both(kind, addresses, i64, i64, i64, i64), codegen

    return step
