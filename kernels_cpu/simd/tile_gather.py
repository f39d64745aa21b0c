"""A tile's input copied together, in the order that its products want: what the byte tiles of NEON begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.types import I32, I64, i32v, pointer, shuffle


def _at(b: Any, address: Any, offset: int) -> Any:
    return b.add(address, ir.Constant(I64, offset)) if offset else address


def tile_gather(columns: int, blocks: int, masks: Sequence[Sequence[int]] | None = None) -> Any:
    """An intrinsic `gather(x, taps, target)`: copies `columns` vectors of 1 or 2 blocks, at x[t] + taps[i] (x: tuple of
    addresses, taps: address of int32 offsets), to target, block by block.

    With masks vector by vector instead, each mask a 16-byte vector of 32-bit lanes of both blocks (0 to 3 the first's,
    4 to 7 the second's, or the only one's again)."""
    addresses = types.UniTuple(types.int64, columns)

    def emit(b: Any, places: Sequence[Any], taps: Any, target: Any) -> None:
        offsets = [b.sext(b.load(pointer(b, _at(b, taps, 4 * i), I32), align=1), I64) for i in range(blocks)]
        found = []
        for place in places:
            both = [b.load(pointer(b, b.add(place, offset), i32v.llvm), align=1) for offset in offsets]
            found.append(both if masks is None else [shuffle(b, both[0], both[-1], mask) for mask in masks])
        together = zip(*found, strict=True) if masks is None else found
        for n, v in enumerate(v for vectors in together for v in vectors):
            b.store(v, pointer(b, _at(b, target, 16 * n), i32v.llvm), align=1)

    @intrinsic
    def gather(tyctx: Any, x: Any, taps: Any, target: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            emit(b, cgutils.unpack_tuple(b, args[0]), args[1], args[2])
            return ctx.get_dummy_value()

        return types.void(addresses, types.int64, types.int64), codegen

    return gather
