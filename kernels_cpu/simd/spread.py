"""Rows that are kept lie packed, one after the other; here they go to the lanes where they belong.

Import from here, not through the package. A mask has a bit for every lane: set bits take the packed elements in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.target import ARCH, LANES, has
from edgert.kernels_cpu.simd.types import I1, I8, I32, I64, VB, call, concat, const, i8v, i32v, pointer, splat


@dataclass(frozen=True)
class Place:
    """For the lanes of one natural vector: which packed element each takes.

    index: their numbers, as the level's permutation wants them; before: how many packed elements (i64) are those of
    lower lanes; keep: one bit per lane, or None where the permutation itself makes other lanes 0."""

    index: Any
    before: Any
    keep: Any


def _global(b: Any, name: str, element: Any, values: Sequence[int]) -> Any:
    """The address (i64) of a constant table of the module."""
    t = ir.ArrayType(element, len(values))
    found = b.module.globals.get(name)
    if found is None:
        found = ir.GlobalVariable(b.module, t, name)
        found.linkage, found.global_constant, found.unnamed_addr, found.align = "internal", True, True, 64
        found.initializer = ir.Constant(t, [ir.Constant(element, v) for v in values])
    return b.ptrtoint(found, I64)


def _ranks() -> list[int]:
    """For every mask of one vector's lanes, the rank of each lane among the kept ones; LANES where it is not kept."""
    return [
        (mask & ((1 << lane) - 1)).bit_count() if mask >> lane & 1 else LANES
        for mask in range(1 << LANES)
        for lane in range(LANES)
    ]


def _rank_bytes() -> list[int]:
    """The same as indices of bytes; 255 where a lane is not kept."""
    return [255 if rank == LANES else 4 * rank + i for rank in _ranks() for i in range(4)]


def _entry(b: Any, table: Any, mask: Any, t: Any) -> Any:
    return b.load(pointer(b, b.add(table, b.mul(mask, ir.Constant(I64, t.count))), t), align=t.count)


def _place(b: Any, mask: Any, before: Any, absolute: bool) -> Place:
    """mask, before: i64."""
    if has("expand"):
        keep = b.bitcast(b.trunc(mask, ir.IntType(LANES)), ir.VectorType(I1, LANES))
        iota = _global(b, "edgert_spread_iota", I32, range(3 * LANES))
        if absolute:
            iota = b.add(iota, b.shl(before, ir.Constant(I64, 2)))
        numbers = b.load(pointer(b, iota, i32v.llvm), align=4)
        name = f"llvm.x86.avx512.mask.expand.v{LANES}i32"
        return Place(call(b, name, i32v.llvm, numbers, const(i32v.llvm, 0), keep), before, keep)
    if ARCH == "aarch64":
        table = _global(b, "edgert_spread_bytes", I8, _rank_bytes())
        index = _entry(b, table, mask, i8v.llvm)
        if absolute:
            more = b.trunc(b.shl(before, ir.Constant(I64, 2)), I8)
            index = call(b, f"llvm.uadd.sat.v{VB}i8", i8v.llvm, index, splat(b, more, i8v.llvm))
        return Place(index, before, None)
    table = _global(b, "edgert_spread_ranks", I8, _ranks())
    ranks = b.zext(_entry(b, table, mask, ir.VectorType(I8, LANES)), i32v.llvm)
    keep = b.icmp_signed("<", ranks, const(i32v.llvm, LANES))
    if absolute:
        ranks = b.add(ranks, splat(b, b.trunc(before, I32), i32v.llvm))
    return Place(ranks, before, keep)


def emit_popcount(b: Any, mask: Any) -> Any:
    """Set bits of an i64."""
    return call(b, "llvm.ctpop.i64", I64, mask)


def emit_places(b: Any, mask: Any, vectors: int, first: Any = None) -> list[Place]:
    """The places of `vectors` vectors of lanes; mask is an i64 with a bit for each lane and nothing else. Elements are
    counted from number `first` (i64) on, or, where that is None, anew for each vector, from its first one on."""
    found = []
    for v in range(vectors):
        below = b.and_(mask, ir.Constant(I64, (1 << LANES * v) - 1))
        before = emit_popcount(b, below) if v else ir.Constant(I64, 0)
        own = b.and_(b.lshr(mask, ir.Constant(I64, LANES * v)), ir.Constant(I64, (1 << LANES) - 1))
        found.append(_place(b, own, before if first is None else b.add(first, before), first is not None))
    return found


def _from_registers(b: Any, packed: Sequence[Any], index: Any) -> Any:
    """Elements of one register, or of as many as 16 fill, by number; packed is f32v or i32v."""
    t = packed[0].type
    floats = isinstance(t.element, ir.FloatType)
    if has("avx512"):
        return call(b, f"llvm.x86.avx512.permvar.{'sf' if floats else 'si'}.512", t, packed[0], index)
    if has("avx2"):
        name = f"llvm.x86.avx2.perm{'ps' if floats else 'd'}"
        taken = [call(b, name, t, part, index) for part in packed]
        if len(taken) == 1:
            return taken[0]
        return b.select(b.icmp_signed("<", index, const(i32v.llvm, LANES)), *taken)
    if ARCH == "aarch64":
        parts = [b.bitcast(part, i8v.llvm) for part in packed]
        return b.bitcast(call(b, f"llvm.aarch64.neon.tbl{len(parts)}.v16i8", i8v.llvm, *parts, index), t)
    # through the stack, where numbers beyond the last element find room
    whole = packed[0] if len(packed) == 1 else concat(b, concat(b, *packed[:2]), concat(b, *packed[2:]))
    elements = ir.ArrayType(t.element, whole.type.count + LANES + 1)
    slot = cgutils.alloca_once(b, elements)
    b.store(whole, b.bitcast(slot, whole.type.as_pointer()), align=4)
    found = ir.Constant(t, ir.Undefined)
    for lane in range(LANES):
        number = b.zext(b.extract_element(index, ir.Constant(I32, lane)), I64)
        value = b.load(b.gep(slot, [ir.Constant(I64, 0), number], inbounds=True))
        found = b.insert_element(found, value, ir.Constant(I32, lane))
    return found


def emit_take(b: Any, packed: Sequence[Any], place: Place) -> Any:
    """What the kept lanes of `place` take of 32-bit elements in registers; other lanes have any of them, or 0."""
    return _from_registers(b, packed, place.index)


def emit_take_kept(b: Any, packed: Sequence[Any], place: Place) -> Any:
    """The same, and 0 in other lanes."""
    found = _from_registers(b, packed, place.index)
    return found if place.keep is None else b.select(place.keep, found, const(found.type, 0.0))


@intrinsic
def popcount(tyctx: Any, mask: Any) -> Any:
    """Set bits of an int64."""
    return types.int64(types.int64), lambda ctx, b, sig, args: emit_popcount(b, args[0])


__all__ = ["Place", "emit_places", "emit_popcount", "emit_take", "emit_take_kept", "popcount"]
