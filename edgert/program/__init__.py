"""A program: the flat list of op records that one native call walks, as objects, bytes and text.

What a record means to a kernel is in kernels_cpu/abi.py; which ops there are is decided in edgert/plan.
"""

from edgert.program.assembler import assemble, link
from edgert.program.disassembler import disassemble
from edgert.program.ops import Op, Operand, Program, Segment
from edgert.program.verifier import verify

__all__ = ["Op", "Operand", "Program", "Segment", "assemble", "disassemble", "link", "verify"]
