"""Writing op records: named operands and params into the 256 bytes that a kernel reads.

Used by the program assembler with offsets, and by kernel tests with addresses.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache

from edgert.kernels_cpu.abi import CHUNK_LIMIT, CHUNKS_OFFSET, OPCODE_OFFSET, RECORD_BYTES
from edgert.kernels_cpu.registry import kernels, opcodes


@cache
def _offsets(kernel: str) -> tuple[dict[str, int], frozenset[str]]:
    spec = kernels()[kernel]
    return spec.fields._asdict(), frozenset(spec.operands.split())


def pack_record(kernel: str, operands: Mapping[str, int], params: Mapping[str, int | float], chunks: int) -> bytes:
    """One record. Every operand and param of the kernel must be given; floats are stored by their bits.

    Raises ValueError for a missing, unknown or out-of-range field.
    """
    offsets, pointers = _offsets(kernel)
    given = {*operands, *params}
    if given != set(offsets):
        missing, unknown = sorted(set(offsets) - given), sorted(given - set(offsets))
        raise ValueError(f"record of {kernel}: missing fields {missing}, unknown fields {unknown}")
    if not 0 <= chunks < CHUNK_LIMIT:
        raise ValueError(f"record of {kernel}: {chunks} chunks, at most {CHUNK_LIMIT - 1}")
    record = bytearray(RECORD_BYTES)
    struct.pack_into("<I", record, OPCODE_OFFSET, opcodes()[kernel])
    struct.pack_into("<I", record, CHUNKS_OFFSET, chunks)
    try:
        for name, value in operands.items():
            if name not in pointers:
                raise ValueError(f"record of {kernel}: {name} is a param, not an operand")
            struct.pack_into("<q", record, offsets[name], value)
        for name, number in params.items():
            struct.pack_into("<f" if isinstance(number, float) else "<i", record, offsets[name], number)
    except struct.error as error:
        raise ValueError(f"record of {kernel}: {error} in {dict(operands)} {dict(params)}") from error
    return bytes(record)
