"""Selections whose size depends on values: Unique and Compress.
Selection by given indices is in `select.py`, the choice among boxes in `regions.py`."""

from __future__ import annotations

import numpy as np

from edgert.kernels_cpu.reference.registry import Array, Call, reference


@reference("Unique")
def unique(call: Call, x: Array) -> tuple[Array, Array, Array, Array]:
    """Distinct values (flattened) or slices along `axis`, in order or, with sorted=0, as they first occur; int64
    first places, the distinct value of each place, counts. Source: ONNX Unique-11."""
    axis = call.attr_int("axis", 0) if "axis" in call.attrs else None
    y, first, inverse, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True, axis=axis)
    order = np.arange(len(first)) if call.attr_int("sorted", 1) else np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    parts = (first[order], place[inverse.reshape(-1)], counts[order])
    return np.take(y, order, axis=axis or 0), *(part.astype(np.int64) for part in parts)  # type: ignore[return-value]


@reference("Compress")
def compress(call: Call, x: Array, condition: Array) -> Array:
    """The places along `axis`, or of the flattened x, where `condition` is true; a short one ends in false.
    Source: ONNX Compress-11."""
    axis = call.attr_int("axis", 0) if "axis" in call.attrs else None
    return np.compress(condition, x, axis=axis)
