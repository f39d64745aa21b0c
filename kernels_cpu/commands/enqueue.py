"""Enqueues OpenCL kernels one after the other, through the functions of the driver, and flushes the queue.

Source: The OpenCL Specification 3.0, clEnqueueNDRangeKernel and clFlush.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from edgert.kernels_cpu.commands import (
    COMMAND_DIMENSIONS,
    COMMAND_GROUP,
    COMMAND_ITEMS,
    COMMAND_KERNEL,
    COMMAND_WORDS,
)  # fmt: skip
from edgert.kernels_cpu.registry import record_fields
from edgert.kernels_cpu.simd import load_i32, load_i64, load_u32, store_i64
from edgert.kernels_cpu.simd.target import WORD_BITS
from edgert.kernels_cpu.simd.types import I32, I64

F = record_fields("enqueue_commands")
WORD = WORD_BITS // 8


def _address(b: Any, value: Any) -> Any:
    """Addresses, held in 64 bits, as this target passes them."""
    return b.trunc(value, ir.IntType(WORD_BITS)) if WORD_BITS < 64 else value


@intrinsic
def call_enqueue(tyctx: Any, function: Any, queue: Any, kernel: Any, dimensions: Any, items: Any, group: Any) -> Any:
    """clEnqueueNDRangeKernel without offset and events; its code, 0 where all is well."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        word = ir.IntType(WORD_BITS)
        none, no_events = ir.Constant(word, 0), ir.Constant(I32, 0)
        kind = ir.FunctionType(I32, [word, word, I32, word, word, word, I32, word, word])
        queue_, kernel_, items_, group_ = (_address(b, args[i]) for i in (1, 2, 4, 5))
        given = [queue_, kernel_, b.trunc(args[3], I32), none, items_, group_, no_events, none, none]
        return b.sext(b.call(b.inttoptr(args[0], kind.as_pointer()), given), I64)

    return types.int64(*[types.int64] * 6), codegen


@intrinsic
def call_flush(tyctx: Any, function: Any, queue: Any) -> Any:
    """clFlush; its code."""

    def codegen(ctx: Any, b: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(I32, [ir.IntType(WORD_BITS)])
        return b.sext(b.call(b.inttoptr(args[0], kind.as_pointer()), [_address(b, args[1])]), I64)

    return types.int64(*[types.int64] * 2), codegen


def enqueue(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """All commands in one chunk. done: two int64, how many commands were enqueued and the code of what came then, the
    next command or, after the last one, the flush; 0 where all is well."""
    command, queue, done = load_i64(record + F.commands), load_i64(record + F.queue), load_i64(record + F.done)
    function = load_i64(record + F.enqueue)
    count = load_i32(record + F.count)
    for i in range(count):
        if WORD == 8:
            kernel, dimensions = load_i64(command + 8 * COMMAND_KERNEL), load_i64(command + 8 * COMMAND_DIMENSIONS)
        else:
            kernel, dimensions = load_u32(command + 4 * COMMAND_KERNEL), load_u32(command + 4 * COMMAND_DIMENSIONS)
        items, group = command + WORD * COMMAND_ITEMS, command + WORD * COMMAND_GROUP
        code = call_enqueue(function, queue, kernel, dimensions, items, group)
        if code != 0:
            store_i64(done, i)
            store_i64(done + 8, code)
            return
        command += WORD * COMMAND_WORDS
    store_i64(done, count)
    store_i64(done + 8, call_flush(load_i64(record + F.flush), queue))
