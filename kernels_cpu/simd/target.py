"""The ISA that kernel sources in this process are compiled for. One process compiles one level.

The compiler process sets EDGERT_KERNEL_LEVEL before it imports any kernel source; nothing else imports this.
"""

from __future__ import annotations

import os

from edgert.kernels_cpu.levels import level_named

LEVEL = level_named(os.environ["EDGERT_KERNEL_LEVEL"])
ARCH = LEVEL.arch
WORD_BITS = 32 if ARCH in ("armv7", "wasm32") else 64
"""Bits of an address. Kernels hold all addresses in 64."""
VECTOR_BYTES = LEVEL.vector_bytes
"""Bytes of the natural vector; LANES is how many 32-bit values it holds."""
LANES = VECTOR_BYTES // 4
ACT_SIGNED = LEVEL.act_signed
REGISTERS = 32 if "avx512" in LEVEL.features or ARCH == "aarch64" else 16


def has(feature: str) -> bool:
    return feature in LEVEL.features
