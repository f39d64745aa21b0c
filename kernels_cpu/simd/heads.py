"""Register tiles of attention: R rows of floats against V vectors of keys or of values, held in a tuple of vectors.

What a tile is multiplied by lies in lines of 16 numbers, floats, halves or bytes, which are widened as they are
loaded. Accumulator (r, v) is element r * V + v. Import from here, not through the package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.half import emit_load_half
from edgert.kernels_cpu.simd.target import LANES, has
from edgert.kernels_cpu.simd.types import F32, I8, I64, VB, call, const, f32v, pointer, splat

LINE = 16
"""Numbers of a line."""


def _load_f32(b: Any, address: Any) -> Any:
    return b.load(pointer(b, address, f32v.llvm), align=1)


def _load_i8(b: Any, address: Any) -> Any:
    narrow, wide = ir.VectorType(I8, LANES), ir.VectorType(ir.IntType(32), LANES)
    return b.sitofp(b.sext(b.load(pointer(b, address, narrow), align=1), wide), f32v.llvm)


ELEMENT_BYTES = {"f32": 4, "f16": 2, "i8": 1}
_LOADS: dict[str, Callable[[Any, Any], Any]] = {
    "f32": _load_f32, "f16": lambda b, address: emit_load_half(b, address, LANES), "i8": _load_i8,
}  # fmt: skip


def lines_of(vectors: int) -> int:
    """Lines that `vectors` vectors are part of."""
    return max(1, vectors * LANES // LINE)


def _at(b: Any, address: Any, offset: int) -> Any:
    return b.add(address, ir.Constant(I64, offset)) if offset else address


def _row(b: Any, address: Any, stride: Any, r: int) -> Any:
    return b.add(address, b.mul(stride, ir.Constant(I64, r))) if r else address


def _broadcast(b: Any, address: Any) -> Any:
    return splat(b, b.load(pointer(b, address, F32), align=1), f32v.llvm)


def _multiply_add(b: Any, x: Any, y: Any, z: Any) -> Any:
    """Fused where the ISA can."""
    return call(b, f"llvm.fma.v{LANES}f32", f32v.llvm, x, y, z) if has("fma") else b.fadd(z, b.fmul(x, y))


def heads_zero(rows: int, vectors: int) -> Any:
    """An intrinsic `zero()`: a tile of zeros."""
    tile = types.UniTuple(f32v, rows * vectors)

    @intrinsic
    def zero(tyctx: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            return cgutils.pack_array(b, [const(f32v.llvm, 0.0)] * (rows * vectors))

        return tile(), codegen

    return zero


def heads_step(element: str, rows: int, vectors: int) -> Any:
    """An intrinsic `step(acc, x, x_row, lines, offset)`: acc[r,v] += x[r] * vector v of the lines, fused where the
    ISA can. x[r] is the float at x + r * x_row; lines of `element` begin `offset` bytes behind each address of the
    tuple `lines`, of which there are lines_of(vectors)."""
    tile, count = types.UniTuple(f32v, rows * vectors), lines_of(vectors)
    load, width = _LOADS[element], ELEMENT_BYTES[element]

    @intrinsic
    def step(tyctx: Any, acc: Any, x: Any, x_row: Any, lines: Any, offset: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, x, x_row, lines, offset = args
            values, addresses = cgutils.unpack_tuple(b, acc), [b.add(a, offset) for a in cgutils.unpack_tuple(b, lines)]
            first = [divmod(v * LANES, LINE) for v in range(vectors)]
            places = [_at(b, addresses[line], width * at) for line, at in first]

            def meet(r: int, v: int, one: Any, vector: Any) -> None:
                values[r * vectors + v] = _multiply_add(b, one, vector, values[r * vectors + v])

            # The shorter side of the tile stays in registers.
            if rows < vectors:
                ones = [_broadcast(b, _row(b, x, x_row, r)) for r in range(rows)]
                for v, place in enumerate(places):
                    vector = load(b, place)
                    for r, one in enumerate(ones):
                        meet(r, v, one, vector)
            else:
                loaded = [load(b, place) for place in places]
                for r in range(rows):
                    one = _broadcast(b, _row(b, x, x_row, r))
                    for v, vector in enumerate(loaded):
                        meet(r, v, one, vector)
            return cgutils.pack_array(b, values)

        i = types.int64
        return tile(tile, i, i, types.UniTuple(i, count), i), codegen

    return step


def heads_load(rows: int, vectors: int) -> Any:
    """An intrinsic `load(y, y_row, scale, scale_row)`: row r of y times the float at scale + r * scale_row."""
    tile = types.UniTuple(f32v, rows * vectors)

    @intrinsic
    def loaded(tyctx: Any, y: Any, y_row: Any, scale: Any, scale_row: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            y, y_row, scale, scale_row = args
            values = []
            for r in range(rows):
                factor = _broadcast(b, _row(b, scale, scale_row, r))
                at = _row(b, y, y_row, r)
                values += [b.fmul(_load_f32(b, _at(b, at, VB * v)), factor) for v in range(vectors)]
            return cgutils.pack_array(b, values)

        return tile(*[types.int64] * 4), codegen

    return loaded


def heads_store(rows: int, vectors: int) -> Any:
    """An intrinsic `store(acc, y, y_row)`: row r of the tile to y + r * y_row."""
    tile = types.UniTuple(f32v, rows * vectors)

    @intrinsic
    def store(tyctx: Any, acc: Any, y: Any, y_row: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            acc, y, y_row = args
            values = cgutils.unpack_tuple(b, acc)
            for r in range(rows):
                for v in range(vectors):
                    address = _at(b, _row(b, y, y_row, r), VB * v)
                    b.store(values[r * vectors + v], pointer(b, address, f32v.llvm), align=1)
            return ctx.get_dummy_value()

        return types.void(tile, types.int64, types.int64), codegen

    return store


@intrinsic
def first_f32(tyctx: Any, v: Any) -> Any:
    """The first element of a float32 vector."""
    zero = ir.Constant(ir.IntType(32), 0)
    return types.float32(v), lambda ctx, b, sig, args: b.extract_element(args[0], zero)


@intrinsic
def store_narrow_i8(tyctx: Any, address: Any, v: Any) -> Any:
    """LANES numbers of -128..127 (i32v) as bytes."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        narrow = ir.VectorType(I8, LANES)
        b.store(b.trunc(args[1], narrow), pointer(b, args[0], narrow), align=1)
        return ctx.get_dummy_value()

    return types.void(types.int64, v), codegen
