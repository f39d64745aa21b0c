"""The kernel ABI: one 256-byte op record, `void kernel(record, chunk, scratch)`, and who may read what.

Only the layout lives here, shared by the program assembler (edgert/program) and the kernel sources.

A record is: opcode u32, chunk count u32, 8 operands (64-bit addresses once linked, tagged offsets
before), 46 params (32 bits each: integers, or floats by their bits). A kernel is called once per chunk,
by any thread and in any order; chunks of one op write disjoint bytes. `scratch` is 64-byte aligned memory
of the calling thread, `SCRATCH` of the kernel's spec long, with unspecified content.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

ABI_VERSION = 2
NAME_BYTES = 32
"""Of the symbols edgert_level and edgert_sources of a library: text, zeros behind it."""
RECORD_BYTES = 256
OPCODE_OFFSET = 0
CHUNKS_OFFSET = 4
OPERANDS_OFFSET = 8
MAX_OPERANDS = 8
PARAMS_OFFSET = OPERANDS_OFFSET + 8 * MAX_OPERANDS
MAX_PARAMS = (RECORD_BYTES - PARAMS_OFFSET) // 4
CHUNK_LIMIT = 1 << 20
"""Chunks per op: the low 20 bits of a claim word count them (engine.py)."""


def fields(operands: str | Sequence[str], params: str | Sequence[str]) -> Any:
    """A namedtuple of byte offsets into the record, one per name: operands first, then params.

    Kernels read `load_i64(record + F.x)` and `load_i32(record + F.rows)`; being a namedtuple of ints,
    Numba freezes it into constants.
    """
    ops = operands.split() if isinstance(operands, str) else list(operands)
    pars = params.split() if isinstance(params, str) else list(params)
    if len(ops) > MAX_OPERANDS or len(pars) > MAX_PARAMS:
        raise ValueError(f"record holds {MAX_OPERANDS} operands and {MAX_PARAMS} params, got {len(ops)}, {len(pars)}")
    offsets = [OPERANDS_OFFSET + 8 * i for i in range(len(ops))] + [PARAMS_OFFSET + 4 * i for i in range(len(pars))]
    return namedtuple("Fields", ops + pars)(*offsets)
