"""The engine: walks a program of op records; threads claim chunks, so no op waits for a thread that sleeps.

Compiled like a kernel, into the same library. An op is finished when its chunks are done, not when every
thread has arrived: a descheduled worker cannot stall the others. Workers wait in native code.

Memory shared with Python is laid out in control.py.
A program and its sync records must stay alive until no worker can be inside them (pool.quiesce).
"""

from __future__ import annotations

from edgert.kernels_cpu.abi import CHUNKS_OFFSET, RECORD_BYTES
from edgert.kernels_cpu.control import (
    ACTIVE,
    EPOCH_SHIFT,
    FUTEX_NUMBER,
    JOB_EPOCH,
    JOB_OPS,
    JOB_PROGRAM,
    JOB_SCRATCH,
    JOB_STRIDE,
    JOB_SYNC,
    JOB_TABLE,
    SEQUENCE,
    SLEEPERS,
    SPIN_IDLE,
    SPIN_OP,
    STOP,
    SYNC_BYTES,
    SYNC_DONE,
    SYSCALL,
    YIELD_NUMBER,
)  # fmt: skip
from edgert.kernels_cpu.simd import helper, load_i64, load_u32
from edgert.kernels_cpu.simd.atomics import (
    call_kernel,
    call_syscall,
    compare_exchange,
    cpu_pause,
    fetch_add,
    load_acquire,
    load_seq_cst,
    store_release,
    store_seq_cst,
)  # fmt: skip

FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE = 128, 129


@helper
def walk(program, sync, ops, table, scratch, epoch, control):  # type: ignore[no-untyped-def]
    """Claims and runs chunks of every op in order; returns when the last op is done."""
    tag = epoch << EPOCH_SHIFT
    spin = load_i64(control + SPIN_OP)
    for i in range(ops):
        record = program + RECORD_BYTES * i
        chunks = load_u32(record + CHUNKS_OFFSET)
        claim = sync + SYNC_BYTES * i
        kernel = load_i64(table + 8 * load_u32(record))
        while True:
            word = load_acquire(claim)
            chunk = max(word, tag) - tag
            if chunk >= chunks:  # all claimed, or a later epoch has begun
                break
            if compare_exchange(claim, word, tag + chunk + 1) != 0:
                call_kernel(kernel, record, chunk, scratch)
                fetch_add(claim + SYNC_DONE, 1)
        target = chunks * (epoch + 1)
        waited = 0
        while load_acquire(claim + SYNC_DONE) < target:
            waited += 1
            if waited < spin:
                cpu_pause()
            elif load_i64(control + SYSCALL) != 0:
                call_syscall(load_i64(control + SYSCALL), load_i64(control + YIELD_NUMBER), 0, 0, 0)


def run_single(program, ops, table, scratch):  # type: ignore[no-untyped-def]
    """One thread, no synchronisation: every chunk of every op in order."""
    for i in range(ops):
        record = program + RECORD_BYTES * i
        kernel = load_i64(table + 8 * load_u32(record))
        for chunk in range(load_u32(record + CHUNKS_OFFSET)):
            call_kernel(kernel, record, chunk, scratch)


def run(control, program, sync, ops, table, scratch, stride, epoch):  # type: ignore[no-untyped-def]
    """Publishes the job, wakes sleepers, and works on it with everyone who comes. Called by one thread at a time;
    its scratch is the first stride bytes."""
    sequence = load_i64(control + SEQUENCE)
    store_seq_cst(control + SEQUENCE, sequence + 1)
    store_release(control + JOB_PROGRAM, program)
    store_release(control + JOB_SYNC, sync)
    store_release(control + JOB_OPS, ops)
    store_release(control + JOB_TABLE, table)
    store_release(control + JOB_SCRATCH, scratch)
    store_release(control + JOB_STRIDE, stride)
    store_release(control + JOB_EPOCH, epoch)
    store_seq_cst(control + SEQUENCE, sequence + 2)
    if load_seq_cst(control + SLEEPERS) > 0:
        call_syscall(
            load_i64(control + SYSCALL),
            load_i64(control + FUTEX_NUMBER),
            control,
            FUTEX_WAKE_PRIVATE,
            1 << 20,
        )
    walk(program, sync, ops, table, scratch, epoch, control)


def worker(control, thread):  # type: ignore[no-untyped-def]
    """A worker's life: spin on the sequence, then sleep on it; take a stable snapshot of the job; walk it."""
    seen = load_i64(control + SEQUENCE)
    idle = load_i64(control + SPIN_IDLE)
    while True:
        waited = 0
        while load_seq_cst(control + SEQUENCE) == seen:
            waited += 1
            if waited < idle or load_i64(control + SYSCALL) == 0:
                cpu_pause()
            else:
                fetch_add(control + SLEEPERS, 1)
                call_syscall(
                    load_i64(control + SYSCALL), load_i64(control + FUTEX_NUMBER), control, FUTEX_WAIT_PRIVATE,
                    seen & 0xFFFFFFFF,
                )  # fmt: skip
                fetch_add(control + SLEEPERS, -1)
        if load_acquire(control + STOP) != 0:
            return
        # ACTIVE counts workers that may touch a program; it rises before the snapshot, so whoever sees it at zero
        # after publishing another job knows that no worker is left in the old one
        fetch_add(control + ACTIVE, 1)
        before = load_seq_cst(control + SEQUENCE)
        program = load_acquire(control + JOB_PROGRAM)
        sync = load_acquire(control + JOB_SYNC)
        ops = load_acquire(control + JOB_OPS)
        table = load_acquire(control + JOB_TABLE)
        scratch = load_acquire(control + JOB_SCRATCH) + thread * load_acquire(control + JOB_STRIDE)
        epoch = load_acquire(control + JOB_EPOCH)
        if before & 1 == 0 and load_seq_cst(control + SEQUENCE) == before:
            seen = before
            walk(program, sync, ops, table, scratch, epoch, control)
        fetch_add(control + ACTIVE, -1)
