"""Kernels of the matmul family: their table rows. Sources are the sibling files, imported by the compiler only."""

from __future__ import annotations

from edgert.kernels_cpu.spec import KernelSpec

KERNELS: tuple[KernelSpec, ...] = ()
