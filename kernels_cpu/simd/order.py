"""Order among instructions that depend on nothing of each other, where registers run out if all start at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from edgert.kernels_cpu.simd.types import I64


def emit_after(b: Any, address: Any, vectors: Sequence[Any]) -> Any:
    """The address, for use once these NEON vectors are computed. No instruction: an empty assembly text takes them."""
    kind = ir.FunctionType(I64, [I64, *(v.type for v in vectors)])
    return b.asm(kind, "", ",".join(["=r", "0", *("w" for _ in vectors)]), [address, *vectors], False)
