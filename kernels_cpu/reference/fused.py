"""What convolutions, matrix products and additions may carry along: a residual and an activation.
The attributes are `residual`, `activation`, `clip_min` and `clip_max`; slopes of a PRelu are the last input."""

from __future__ import annotations

import numpy as np

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.registry import Array, Call

ACTIVATIONS = ("", "Relu", "Clip")


def activations_of(op: str) -> tuple[str, ...]:
    """The activations that may be fused into operator `op`."""
    return (*ACTIVATIONS, "PRelu") if op == "Conv" else ACTIVATIONS


def bounds(call: Call) -> tuple[float, float]:
    """(lowest, highest) real value the fused activation lets through; infinite where there is no bound."""
    kind = call.attr_str("activation", "")
    if kind not in (known := activations_of(call.op)):
        raise UnsupportedError(f"expected a fused activation among {known}, found {kind!r}")
    if kind == "Relu":
        return 0.0, np.inf
    if kind == "Clip":
        return call.attr_float("clip_min", -np.inf), call.attr_float("clip_max", np.inf)
    return -np.inf, np.inf


def activate(call: Call, y: Array) -> Array:
    """`y` through the fused activation of `call`, in the dtype of `y`."""
    low, high = bounds(call)
    if low == -np.inf and high == np.inf:
        return y
    return np.clip(y, np.asarray(low, y.dtype), np.asarray(high, y.dtype))


def split_slope(call: Call, rest: tuple[Array | None, ...]) -> tuple[tuple[Array | None, ...], Array | None]:
    """(the other inputs after the weights, slopes) of a PRelu fused into a Conv; slopes None without one."""
    return (rest[:-1], rest[-1]) if call.attr_str("activation", "") == "PRelu" else (rest, None)


def split_residual(call: Call, rest: tuple[Array | None, ...]) -> tuple[Array | None, Array | None]:
    """(bias, residual) among the inputs after the weights; the residual is the last one when present."""
    if call.attr_int("residual", 0):
        return (rest[0] if len(rest) > 1 else None), rest[-1]
    return (rest[0] if rest else None), None
