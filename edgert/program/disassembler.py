"""Records -> text, for `edgert inspect --program`: what the engine will really read, op by op.

Works on the assembled bytes, not on the objects they were made from.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edgert.kernels_cpu.abi import CHUNKS_OFFSET, OPCODE_OFFSET
from edgert.kernels_cpu.registry import kernels
from edgert.program.assembler import untag
from edgert.program.ops import Program


def disassemble(program: Program, records: npt.NDArray[np.uint8]) -> Iterator[str]:
    """One line per tagged record of `program`: index, kernel, chunks, operands, params, node."""
    names = list(kernels())
    floats = {(op.kernel, name) for op in program.ops for name, value in op.params.items() if isinstance(value, float)}
    for index, record in enumerate(records):
        data = record.tobytes()
        (opcode,) = struct.unpack_from("<I", data, OPCODE_OFFSET)
        (chunks,) = struct.unpack_from("<I", data, CHUNKS_OFFSET)
        spec = kernels()[names[opcode - 1]]
        offsets = spec.fields._asdict()
        words = [
            f"{name}={_place(program, struct.unpack_from('<q', data, offsets[name])[0])}"
            for name in spec.operands.split()
        ]
        for name in spec.params.split():
            kind = "<f" if (spec.name, name) in floats else "<i"
            words.append(f"{name}={struct.unpack_from(kind, data, offsets[name])[0]:.7g}")
        yield f"{index:4d} {spec.name} x{chunks} {' '.join(words)} ; {program.ops[index].node}"


def _place(program: Program, word: int) -> str:
    place = untag(word)
    if place is None:
        return "-"
    segment, offset = place
    return f"{program.segments[segment].name}+{offset:#x}"
