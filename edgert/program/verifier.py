"""Checks a program before its first run: nothing it names lies outside of what it was given.

A kernel trusts its record, so whatever is wrong must be found here.
"""

from __future__ import annotations

import math

from edgert.errors import KernelError
from edgert.kernels_cpu.abi import CHUNK_LIMIT
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.registry import kernels
from edgert.program.assembler import MAX_SEGMENTS, OFFSET_MASK
from edgert.program.ops import Op, Operand, Program

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def verify(program: Program, level: Level) -> None:
    """Raises KernelError, naming the op and its node, unless every op of `program` can run at `level`.

    Kernels exist at the level; fields are exactly the kernel's; operands lie inside their segments; params
    fit 32 bits and floats are numbers; chunks and scratch are in range.
    """
    if len(program.segments) > MAX_SEGMENTS:
        raise KernelError(f"program has {len(program.segments)} segments, at most {MAX_SEGMENTS}")
    for segment in program.segments:
        if not 0 <= segment.nbytes <= OFFSET_MASK:
            raise KernelError(f"segment {segment.name} has {segment.nbytes} bytes, expected 0..{OFFSET_MASK}")
    for index, op in enumerate(program.ops):
        fault = _fault(program, op, level)
        if fault:
            where = f"op {index} ({op.kernel}) of node {op.node!r}"
            raise KernelError(f"{where}: {fault}; this is a bug of the planner")


def _fault(program: Program, op: Op, level: Level) -> str:
    spec = kernels().get(op.kernel)
    if spec is None:
        return "no such kernel"
    if not spec.available(level):
        return f"kernel needs {spec.needs}, which level {level.name} lacks"
    for kind, expected, given in (
        ("operands", spec.operands.split(), op.operands),
        ("params", spec.params.split(), op.params),
    ):
        if set(expected) != set(given):
            return f"expected {kind} {sorted(expected)}, found {sorted(given)}"
    if not 0 <= op.chunks < CHUNK_LIMIT:
        return f"{op.chunks} chunks, expected 0..{CHUNK_LIMIT - 1}"
    if op.scratch < 0:
        return f"{op.scratch} bytes of scratch"
    for name, operand in op.operands.items():
        fault = _operand_fault(program, operand)
        if fault:
            return f"operand {name} {fault}"
    for name, value in op.params.items():
        inside = not math.isnan(value) if isinstance(value, float) else INT32_MIN <= value <= INT32_MAX
        if not inside:
            return f"param {name} is {value}, expected a number or an int32"
    return ""


def _operand_fault(program: Program, operand: Operand | None) -> str:
    if operand is None:
        return ""
    if not 0 <= operand.segment < len(program.segments):
        return f"is in segment {operand.segment} of {len(program.segments)}"
    segment = program.segments[operand.segment]
    if operand.offset < 0 or operand.nbytes < 0 or operand.offset + operand.nbytes > segment.nbytes:
        return (
            f"reaches bytes {operand.offset}..{operand.offset + operand.nbytes} of {segment.name}, "
            f"which has {segment.nbytes}"
        )
    return ""
