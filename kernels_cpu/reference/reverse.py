"""ReverseSequence: the first values of each row of a batch, backwards.
Slice with negative steps, which reverses whole axes, is in `shape.py`."""

from __future__ import annotations

import numpy as np

from edgert.kernels_cpu.reference.registry import Array, Call, reference


@reference("ReverseSequence")
def reverse_sequence(call: Call, x: Array, lengths: Array) -> Array:
    """y[t, b] = x[lengths[b] - 1 - t, b] where t < lengths[b], else x[t, b]. Source: ONNX ReverseSequence-10."""
    time, batch = call.attr_int("time_axis", 0), call.attr_int("batch_axis", 1)
    rows = np.moveaxis(x, (time, batch), (0, 1))
    if np.any((lengths < 0) | (lengths > rows.shape[0])):
        raise ValueError(f"expected lengths from 0 to {rows.shape[0]}, found {lengths.tolist()[:16]}")
    t = np.arange(rows.shape[0])[:, None]
    source = np.where(t < lengths, lengths - 1 - t, t)
    reversed_rows = rows[source, np.arange(rows.shape[1])]
    return np.ascontiguousarray(np.moveaxis(reversed_rows, (0, 1), (time, batch)))
