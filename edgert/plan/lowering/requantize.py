"""Numbers of quantized operators as kernels want them: multipliers, effective biases, clamps, zero points.

An activation byte is held as value - 128 on levels with signed activations (Level.act_signed); everything that
depends on it is folded here, so kernels see only numbers.
"""

from __future__ import annotations

import numpy as np

from edgert.format.model import StoredTensor
from edgert.graph.ir import Array, Node, Quantization, TensorType
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.reference.fused import bounds
from edgert.kernels_cpu.reference.quantization import ratio
from edgert.kernels_cpu.reference.registry import Call
from edgert.plan.lowering.api import Site


def quant_of(kind: TensorType) -> Quantization:
    assert kind.quant is not None, "quantized operators have quantized inputs and outputs"
    return kind.quant


def shift(level: Level) -> int:
    """What is subtracted from an activation byte in k4p."""
    return 128 if level.act_signed else 0


def zero_point(kind: TensorType, level: Level) -> int:
    """The zero point of an activation as the arena holds it."""
    return int(quant_of(kind).zero_point) - shift(level)


def multipliers(x: TensorType, w: TensorType, y: TensorType, filters: int) -> Array:
    """float32 [filters]: steps of the output per unit of the accumulator, sx * sw[n] / sy."""
    values = ratio((quant_of(x).scale, quant_of(w).scale), quant_of(y).scale)
    return np.broadcast_to(values, (filters,)).astype(np.float32)


def effective_bias(site: Site, stored: StoredTensor, bias_index: int | None) -> Array:
    """int32 [N]: the bias minus the input's zero point times each row's weight sum."""
    x = site.inputs[0]
    assert x is not None
    sums = np.asarray(stored.parts["sum"], np.int64)
    bias = np.zeros(len(sums), np.int64)
    if bias_index is not None:
        value = site.values[bias_index]
        assert value is not None, "the bias of a quantized operator is a constant"
        bias = np.asarray(value, np.int64)
    return (bias - zero_point(x, site.level) * sums).astype(np.int32)


def activation_floats(node: Node) -> tuple[float, float]:
    """(lowest, highest) value the fused activation lets through."""
    low, high = bounds(Call(node.op, dict(node.attrs)))
    return float(low), float(high)


def quantized_bounds(node: Node, y: TensorType) -> tuple[int, int]:
    """(lowest, highest) stored value, 0..255, that the fused activation lets through."""
    quant, found = quant_of(y), []
    for bound, limit in zip(activation_floats(node), (0, 255), strict=True):
        if np.isinf(bound):
            found.append(limit)
        else:
            steps = np.rint(np.float32(bound) / np.float32(quant.scale)) + int(quant.zero_point)
            found.append(int(np.clip(steps, 0, 255)))
    return found[0], found[1]


def activation_bytes(node: Node, y: TensorType, level: Level) -> tuple[int, int]:
    """quantized_bounds as the arena's bytes, for params (splat truncates to 8 bits)."""
    low, high = quantized_bounds(node, y)
    return low - shift(level), high - shift(level)
