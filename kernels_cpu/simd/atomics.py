"""Atomic words, the pause hint and calls through a function pointer: what the engine is made of.

Kernels never use these; only engine.py does.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edgert.kernels_cpu.simd.target import ARCH, WORD_BITS
from edgert.kernels_cpu.simd.types import I32, I64, VOID, call, pointer


def _load(order: str) -> Any:
    @intrinsic
    def load(tyctx: Any, address: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            return b.load_atomic(pointer(b, args[0], I64), order, 8)

        return types.int64(types.int64), codegen

    return load


def _store(order: str) -> Any:
    @intrinsic
    def store(tyctx: Any, address: Any, value: Any) -> Any:
        def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
            b.store_atomic(args[1], pointer(b, args[0], I64), order, 8)
            return ctx.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return store


load_acquire, load_seq_cst = _load("acquire"), _load("seq_cst")
store_release, store_seq_cst = _store("release"), _store("seq_cst")


@intrinsic
def fetch_add(tyctx: Any, address: Any, value: Any) -> Any:
    """Adds to a 64-bit word, sequentially consistent; returns what was there."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        return b.atomic_rmw("add", pointer(b, args[0], I64), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def compare_exchange(tyctx: Any, address: Any, expected: Any, value: Any) -> Any:
    """Replaces `expected` by `value`; returns 1 when it did, 0 when another value was there."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        r = b.cmpxchg(pointer(b, args[0], I64), args[1], args[2], "acq_rel", "acquire")
        return b.zext(b.extract_value(r, 1), I64)

    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic
def cpu_pause(tyctx: Any) -> Any:
    """Tells the core that this is a spin loop."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        if ARCH == "x86_64":
            call(b, "llvm.x86.sse2.pause", VOID)
        elif ARCH == "aarch64":
            call(b, "llvm.aarch64.hint", VOID, ir.Constant(I32, 1))
        elif ARCH == "armv7":
            call(b, "llvm.arm.hint", VOID, ir.Constant(I32, 1))
        return ctx.get_dummy_value()

    return types.void(), codegen


@intrinsic
def call_kernel(tyctx: Any, function: Any, record: Any, chunk: Any, scratch: Any) -> Any:
    """Calls `void f(int64, int64, int64)` at an address."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(VOID, [I64] * 3)
        b.call(b.inttoptr(args[0], kind.as_pointer()), args[1:])
        return ctx.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@intrinsic
def call_syscall(tyctx: Any, function: Any, number: Any, a: Any, b_: Any, c: Any) -> Any:
    """Calls libc's `syscall(number, a, b, c, 0, 0, 0)` at an address; its arguments are of the C type long."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        long = ir.IntType(WORD_BITS)
        kind, zero = ir.FunctionType(long, [long] * 7), ir.Constant(long, 0)
        words = [b.trunc(arg, long) if WORD_BITS < 64 else arg for arg in args[1:]]
        b.call(b.inttoptr(args[0], kind.as_pointer()), [*words, zero, zero, zero])
        return ctx.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


__all__ = [
    "call_kernel", "call_syscall", "compare_exchange", "cpu_pause", "fetch_add", "load_acquire", "load_seq_cst",
    "store_release", "store_seq_cst",
]  # fmt: skip
