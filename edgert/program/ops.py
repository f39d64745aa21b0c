"""Program, Op, Operand and Segment: a program before it has addresses.

Plain data, made by the planner; bytes are made of it in assembler.py, and its rules held in verifier.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """Memory that a program refers to by index. Linking gives each one a base address.

    name: 'arena', 'constants', or 'weights:<tensor>.<part>'. Only the arena may be written.
    """

    name: str
    nbytes: int


@dataclass(frozen=True)
class Operand:
    """`nbytes` bytes from `offset` in segment number `segment`: all that the kernel may touch there."""

    segment: int
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Op:
    """One record: a kernel by name, its operands (None is a null pointer) and its params.

    chunks: how many independent parts threads may claim. scratch: bytes each thread needs.
    node: name of the graph node it was made for, for people.
    """

    kernel: str
    operands: Mapping[str, Operand | None]
    params: Mapping[str, int | float]
    chunks: int
    scratch: int = 0
    node: str = ""


@dataclass(frozen=True)
class Program:
    """Ops in the order of execution, and the segments their operands lie in."""

    ops: tuple[Op, ...]
    segments: tuple[Segment, ...]

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels used, each once, in order of first use."""
        return tuple(dict.fromkeys(op.kernel for op in self.ops))

    @property
    def scratch(self) -> int:
        """Bytes of scratch memory a thread needs, in whole cache lines."""
        return -(-max((op.scratch for op in self.ops), default=0) // 64) * 64
