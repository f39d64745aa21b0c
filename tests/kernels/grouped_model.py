"""What products with grouped weights must give, bit for bit: the arithmetic of all their kernels, in NumPy."""

from __future__ import annotations

import numpy as np
from offers import site_of

from edgert.format.model import StoredTensor
from edgert.graph.ir import TensorType
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.reference.g32 import G32
from edgert.plan.lowering.api import Site

ENCODINGS = ("q4", "q4m", "q8g")


def weights(encoding: str, columns: int, depth: int, rng: np.random.Generator) -> StoredTensor:
    """Random weights [columns, depth], extreme numbers among them."""
    groups = -(-depth // 32)
    scale = (rng.uniform(-0.02, 0.02, (columns, groups))).astype(np.float16)
    if encoding == "q8g":
        numbers = rng.integers(-128, 128, (columns, depth)).astype(np.int8)
        numbers[0] = -128
        return StoredTensor.pack_q8g("w", numbers, scale)
    values = rng.integers(0, 16, (columns, depth)).astype(np.uint8)
    values[0] = 15
    values[-1] = 0
    if encoding == "q4":
        return StoredTensor.pack_q4("w", values, scale)
    return StoredTensor.pack_q4m("w", values, scale, rng.uniform(-0.2, 0.2, scale.shape).astype(np.float16))


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c in float32 with one rounding (of a wider sum, which is as good but once in 2**40)."""
    wide = np.longdouble
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(np.float32)


def product(
    x: G32, stored: StoredTensor, bias: np.ndarray | None = None, residual: np.ndarray | None = None,
    second: G32 | None = None,
) -> np.ndarray:  # fmt: skip
    """float32 [T, N]: for each output one sum over the groups in their order, then bias, then residual. second: of
    x in two terms; each block of two groups meets the first, then the second."""
    numbers, scale, minimum = stored.groups()
    values = numbers.astype(np.int32) - (8 if stored.encoding == "q4" else 0)
    depth = values.shape[1]
    y = np.zeros((x.values.shape[0], values.shape[0]), np.float32)
    groups = range(-(-depth // 32))
    terms = (x,) if second is None else (x, second)
    for term, g in [(term, g) for block in groups[::2] for term in terms for g in groups[block : block + 2]]:
        k = slice(32 * g, min(32 * g + 32, depth))
        dot = term.values[:, k].astype(np.int32) @ values[:, k].T
        x_scale = term.scale[:, g, None]
        y = fma(dot.astype(np.float32), x_scale * scale[None, :, g].astype(np.float32), y)
        if minimum is not None:
            y = fma(x_scale * term.sums[:, g, None].astype(np.float32), minimum[None, :, g].astype(np.float32), y)
    if bias is not None:
        y = y + bias
    return y if residual is None else y + residual


def site_for(
    stored: StoredTensor, x: np.ndarray, bias: np.ndarray | None, residual: np.ndarray | None, level: Level,
    threads: int = 1, **attrs: object,
) -> tuple[Site, list[np.ndarray | None]]:  # fmt: skip
    """A Gemm with these inputs, and the inputs; an absent bias before a residual keeps its place."""
    inputs: list[np.ndarray | None] = [x, np.zeros(stored.shape, np.float32), bias, residual]
    while inputs[-1] is None:
        inputs.pop()
    kinds = [None if v is None else TensorType("float32", v.shape) for v in inputs]
    attrs = {"transB": 1, "residual": int(residual is not None)} | attrs
    out = TensorType("float32", (x.shape[0], stored.shape[0]))
    constants: dict[int, StoredTensor | np.ndarray] = {1: stored} | ({} if bias is None else {2: bias})
    return site_of("Gemm", inputs, kinds, [out], attrs, constants, level, threads), inputs
