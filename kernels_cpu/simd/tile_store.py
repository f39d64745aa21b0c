"""How a register tile of byte products ends: accumulators -> scaled floats -> activation bytes, stored.

tile.py, tile_lanes.py and tile_pairs.py hold their accumulators in different orders; what follows is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.bytes8 import emit_clamp_act, emit_lane_shuffle, emit_requantize
from edgert.kernels_cpu.simd.types import f32v, i8v, i16v, i32v, pointer


def store_q8(
    accumulators: int,
    columns: int,
    residual: bool,
    scales: Callable[[Any, Any], Any],
    floats: Callable[..., list[Any]],
    order: Sequence[int] | None = None,
) -> Any:
    """An intrinsic `store(acc, scale, zero_point, low, high, y, offset[, r, residual_zero, residual_scale])` for a tile
    of 4 output channels: requantizes, clamps to activation bytes [low, high] and writes vector t, [pixel][4 channels],
    at y[t] + offset (y: tuple of addresses). With a residual, (byte at r[t] + offset - residual_zero) * residual_scale
    is added before rounding.

    scale: address of 4 floats, which scales(b, scale) loads; zero_point: i16v; low, high: i8v; residual_zero: i32v;
    residual_scale: f32v. floats(b, values, scales, t, skip): vector t of the accumulators times the scales, as four
    vectors of floats, the residual added unless skip is None: (its bytes, residual_zero, residual_scale). order: which
    of the bytes made of them come first, lane by lane."""
    kind = types.UniTuple(i32v, accumulators)
    addresses, i = types.UniTuple(types.int64, columns), types.int64

    def body(b: Any, args: Sequence[Any], aside: Sequence[Any]) -> None:
        acc, scale, zero_point, low, high, y, offset = args
        values, y, loaded = cgutils.unpack_tuple(b, acc), cgutils.unpack_tuple(b, y), scales(b, scale)
        for t in range(columns):
            skip = None
            if aside:
                place = b.add(cgutils.unpack_tuple(b, aside[0])[t], offset)
                skip = b.load(pointer(b, place, i8v.llvm), align=1), *aside[1:]
            packed = emit_requantize(b, floats(b, values, loaded, t, skip), zero_point)
            if order is not None:
                packed = emit_lane_shuffle(b, packed, order)
            packed = emit_clamp_act(b, packed, low, high)
            b.store(packed, pointer(b, b.add(y[t], offset), i8v.llvm), align=1)

    if residual:

        @intrinsic
        def store_add(
            tyctx: Any, acc: Any, scale: Any, zero_point: Any, low: Any, high: Any, y: Any, offset: Any,
            r: Any, zero: Any, ratio: Any,
        ) -> Any:  # fmt: skip
            def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
                body(b, args[:7], args[7:])
                return ctx.get_dummy_value()

            return types.void(kind, i, i16v, i8v, i8v, addresses, i, addresses, i32v, f32v), codegen

        return store_add

    @intrinsic
    def store(tyctx: Any, acc: Any, scale: Any, zero_point: Any, low: Any, high: Any, y: Any, offset: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            body(b, args, ())
            return ctx.get_dummy_value()

        return types.void(kind, i, i16v, i8v, i8v, addresses, i), codegen

    return store
