"""AMX tiles: eight matrices of up to 16 rows x 64 bytes, int8 products into int32. For kernels that need `amx`.

`configure` gives the tiles their shapes and zeroes them, `release` frees them; a kernel does both in every chunk, as
other libraries use tiles too. `state` is AMX_STATE bytes of scratch, 64-byte aligned: with EDGERT_AMX_MODEL=1 in the
compiler's environment the same words are a software model that keeps its tiles there (amx_model.py), so that packing,
addresses and shapes are tested on machines without AMX; the instructions themselves ignore it.
Source: Intel 64 and IA-32 Architectures SDM, volume 1 chapter 18 and volume 2, TILELOADD, TDPBSUD and TDPBSSD.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edgert.kernels_cpu.levels import amx_model
from edgert.kernels_cpu.simd.target import LEVEL, has
from edgert.kernels_cpu.simd.types import I8, VOID, call, pointer

if not has("amx"):
    raise ImportError(f"kernels on AMX tiles need a level with amx, not {LEVEL.name}")


def _number(tile: Any) -> ir.Constant:
    """Tiles are named by instructions, so their numbers are literals in the source."""
    return ir.Constant(I8, tile.literal_value)


@intrinsic
def _configure(tyctx: Any, state: Any, config: Any) -> Any:
    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        call(b, "llvm.x86.ldtilecfg", VOID, pointer(b, args[1], I8))
        return ctx.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def _release(tyctx: Any, state: Any) -> Any:
    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        call(b, "llvm.x86.tilerelease", VOID)
        return ctx.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic(prefer_literal=True)
def _zero(tyctx: Any, state: Any, tile: Any) -> Any:
    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        call(b, "llvm.x86.tilezero", VOID, _number(tile))
        return ctx.get_dummy_value()

    return types.void(types.int64, tile), codegen


def _move(name: str) -> Any:
    @intrinsic(prefer_literal=True)
    def move(tyctx: Any, state: Any, tile: Any, address: Any, stride: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            call(b, name, VOID, _number(tile), pointer(b, args[2], I8), args[3])
            return ctx.get_dummy_value()

        return types.void(types.int64, tile, types.int64, types.int64), codegen

    return move


def _product(name: str) -> Any:
    @intrinsic(prefer_literal=True)
    def dot(tyctx: Any, state: Any, sums: Any, left: Any, right: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            call(b, name, VOID, *(_number(tile) for tile in (sums, left, right)))
            return ctx.get_dummy_value()

        return types.void(types.int64, sums, left, right), codegen

    return dot


if amx_model():
    from edgert.kernels_cpu.simd import amx_model as _words

    amx_configure, amx_release, amx_zero = _words.configure, _words.release, _words.zero
    amx_load, amx_store, amx_dot, amx_dot_signed = _words.load, _words.store, _words.dot, _words.dot_signed
else:
    amx_configure, amx_release, amx_zero = _configure, _release, _zero
    amx_load, amx_store = _move("llvm.x86.tileloadd64"), _move("llvm.x86.tilestored64")
    amx_dot, amx_dot_signed = _product("llvm.x86.tdpbsud"), _product("llvm.x86.tdpbssd")
"""amx_configure(state, config): config is the address of 64 bytes, palette 1.   amx_release(state)
amx_zero(state, tile)
amx_load(state, tile, address, stride), amx_store(state, tile, address, stride): a tile's rows lie `stride` bytes apart
amx_dot(state, sums, signed, unsigned): sums[m, n] += sum over k of signed[m, k] * unsigned[k // 4, 4 n + k % 4]
amx_dot_signed(state, sums, left, right): the same of signed bytes on both sides
"""
