"""Program -> bytes: records with tagged offsets, then records with absolute addresses.

A tagged offset is (segment index + 1) << 48 | byte offset; a null operand is 0. Linking replaces every tag
by the base address of its segment, once per place in memory, before the first run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgert.errors import KernelError
from edgert.kernels_cpu.abi import MAX_OPERANDS, OPERANDS_OFFSET, RECORD_BYTES
from edgert.kernels_cpu.record import pack_record
from edgert.program.ops import Operand, Program

TAG_SHIFT = 48
MAX_SEGMENTS = (1 << 15) - 2
"""What fits above TAG_SHIFT in a positive int64."""
OFFSET_MASK = (1 << TAG_SHIFT) - 1
CACHE_LINE = 64


def tagged(operand: Operand | None) -> int:
    """The 64-bit word of an operand in an assembled record."""
    return 0 if operand is None else (operand.segment + 1) << TAG_SHIFT | operand.offset


def untag(word: int) -> tuple[int, int] | None:
    """(segment, offset) of a tagged word, None for a null pointer."""
    return None if word == 0 else ((word >> TAG_SHIFT) - 1, word & OFFSET_MASK)


def assemble(program: Program) -> npt.NDArray[np.uint8]:
    """The records [ops, RECORD_BYTES] with tagged offsets. Raises KernelError for a malformed op."""
    records = bytearray()
    for index, op in enumerate(program.ops):
        operands = {name: tagged(operand) for name, operand in op.operands.items()}
        try:
            records += pack_record(op.kernel, operands, op.params, op.chunks)
        except (KeyError, ValueError) as error:
            raise KernelError(f"op {index} for node {op.node!r} cannot be assembled: {error}") from error
    return np.frombuffer(bytes(records), np.uint8).reshape(len(program.ops), RECORD_BYTES)


def link(records: npt.NDArray[np.uint8], bases: Sequence[int]) -> npt.NDArray[np.uint8]:
    """A 64-byte aligned copy of tagged `records` with absolute addresses; `bases[i]` is that of segment i."""
    linked = aligned_bytes(records.size).reshape(records.shape)
    linked[...] = records
    first = OPERANDS_OFFSET // 8
    words = linked.view(np.int64)[:, first : first + MAX_OPERANDS]
    segment = words >> TAG_SHIFT
    table = np.array([0, *bases], np.int64)
    words[...] = table[segment] + (words & OFFSET_MASK)
    return linked


def aligned_bytes(nbytes: int) -> npt.NDArray[np.uint8]:
    """Zeroed bytes that begin on a cache line."""
    raw = np.zeros(nbytes + CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + nbytes]
