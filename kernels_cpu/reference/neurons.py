"""Feed-forward layers of which only the active neurons are computed: NeuronFFN.
The product that says which are active, and whole gated layers, are in `matmul.py` and `glu.py`."""

from __future__ import annotations

import numpy as np

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.activation import unary_activation, widened
from edgert.kernels_cpu.reference.glu import GLU_ACTIVATIONS
from edgert.kernels_cpu.reference.registry import Array, Call, reference

NEURON_ACTIVATIONS: dict[str, tuple[str, dict[str, str]]] = {**GLU_ACTIVATIONS, "Relu": ("Relu", {})}
"""Value of the attribute `activation` -> the operator it is, with its attributes."""


def active(call: Call, gate: Array) -> Array:
    """activation(gate) where its magnitude is above `threshold` or no number, else 0."""
    kind = call.attr_str("activation", "Silu")
    if kind not in NEURON_ACTIVATIONS:
        raise UnsupportedError(f"expected an activation among {', '.join(NEURON_ACTIVATIONS)}, found {kind!r}")
    op, attrs = NEURON_ACTIVATIONS[kind]
    a = unary_activation(Call(op, dict(attrs)), widened(gate))
    return np.where(np.abs(a) <= np.float32(call.attr_float("threshold", 0.0)), np.zeros_like(a), a)


@reference("NeuronFFN")
def neuron_ffn(call: Call, x: Array, gate: Array, neurons: Array, residual: Array | None = None) -> Array:
    """x [T, D], gate [T, F] before its activation, neurons [F, 2, D]: (a * (x up')) down with a = activation(gate)
    where |a| > threshold, else 0; up = neurons[:, 0], down = neurons[:, 1]; plus the residual [T, D], if any.

    What is not active is not multiplied, so nothing of its neurons counts. Sources: CATS (Lee et al. 2024) for the
    threshold on the gate; LLM in a flash (Alizadeh et al. 2023) for rows and columns kept together.
    """
    a = active(call, gate)
    with np.errstate(invalid="ignore"):
        h = np.where(a == 0, np.zeros_like(a), a * (x @ neurons[:, 0].T))
    y = h @ neurons[:, 1]
    return np.asarray(y if residual is None else y + residual, x.dtype)
