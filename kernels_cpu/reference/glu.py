"""Gated linear units: an activation of one half of a row times the other half.
The products before and after them are in `matmul.py`."""

from __future__ import annotations

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.activation import unary_activation, widened
from edgert.kernels_cpu.reference.registry import Array, Call, reference

GLU_ACTIVATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "Sigmoid": ("Sigmoid", {}),
    "Silu": ("Swish", {}),
    "Gelu": ("Gelu", {"approximate": "none"}),
    "GeluTanh": ("Gelu", {"approximate": "tanh"}),
}
"""Value of the attribute `activation` -> the operator it is, with its attributes."""


@reference("GLU")
def glu(call: Call, x: Array) -> Array:
    """activation(x[..., :F]) * x[..., F:] of x [..., 2F]. Source: Shazeer 2020, "GLU variants improve
    Transformer", section 2: SwiGLU is 'Silu', GEGLU 'Gelu'."""
    kind = call.attr_str("activation", "Silu")
    if kind not in GLU_ACTIVATIONS:
        raise UnsupportedError(f"expected a GLU activation among {', '.join(GLU_ACTIVATIONS)}, found {kind!r}")
    op, attrs = GLU_ACTIVATIONS[kind]
    wide, half = widened(x), x.shape[-1] // 2
    return (unary_activation(Call(op, dict(attrs)), wide[..., :half]) * wide[..., half:]).astype(x.dtype)
