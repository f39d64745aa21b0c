"""Memory that the engine and Python share: the control block of a pool, and a sync record per op.

Byte offsets of int64 words. engine.py works on them, edgert/runtime owns them; no Numba is needed to read this.
"""

from __future__ import annotations

SYNC_BYTES = 128
"""A sync record: +0 claim word (epoch << EPOCH_SHIFT | next chunk), +SYNC_DONE chunks done since the start."""
SYNC_DONE = 64
EPOCH_SHIFT = 20

# The control block; words that different threads write lie on different cache lines.
SEQUENCE = 0
"""Even: the job is stable; odd: it is being written. Also the futex word."""
SLEEPERS = 128
ACTIVE = 256
STOP = 384
SYSCALL = 512
"""Address of libc's syscall, 0 where there is none."""
FUTEX_NUMBER = 520
YIELD_NUMBER = 528
SPIN_IDLE = 536
SPIN_OP = 544
JOB = 640
"""The job: which program, published under a sequence lock."""
JOB_PROGRAM, JOB_SYNC, JOB_OPS, JOB_TABLE, JOB_SCRATCH, JOB_STRIDE, JOB_EPOCH = range(JOB, JOB + 56, 8)
CONTROL_BYTES = 768
