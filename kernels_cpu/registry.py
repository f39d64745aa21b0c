"""The only table of kernels: name, source module, record fields, levels. Selection by operator is in edgert/plan.

Rows live beside their kernels, in each family's `KERNELS` tuple, and need no Numba to be read.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from edgert.kernels_cpu.spec import KernelSpec

FAMILIES = (
    "attention", "conv", "elementwise", "layout", "matmul", "norm", "pool", "recurrent", "resample", "neurons",
    "commands",
)  # fmt: skip


@cache
def kernels() -> dict[str, KernelSpec]:
    """Every kernel by name, in a fixed order: the order is the opcode."""
    table: dict[str, KernelSpec] = {}
    for family in FAMILIES:
        for spec in import_module(f"edgert.kernels_cpu.{family}").KERNELS:
            if spec.name in table:
                raise ValueError(f"two kernels are named {spec.name}")
            table[spec.name] = spec
    return table


@cache
def opcodes() -> dict[str, int]:
    """Kernel name -> opcode. Opcode 0 is 'no operation'."""
    return {name: i + 1 for i, name in enumerate(kernels())}


def record_fields(name: str) -> Any:
    """Byte offsets of the record fields of kernel `name`: what its source reads."""
    return kernels()[name].fields
