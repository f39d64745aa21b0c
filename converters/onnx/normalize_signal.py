"""Lifts of signal operators to their newest form: DFT takes its axis as an input.
Source: ONNX DFT-17, DFT-20."""

from __future__ import annotations

import numpy as np

from edgert.converters.onnx.builder import Builder
from edgert.converters.onnx.normalize import attributes, lift
from edgert.converters.onnx.reader import OnnxNode


@lift("DFT")
def dft(b: Builder, n: OnnxNode) -> None:
    """Before opset 20 the axis is an attribute, 1 where it is not given."""
    inputs = [b.use(n.input(i)) for i in range(3)]
    if n.opset < 20:
        inputs[2] = b.store(f"{n.name}_axis", np.array(int(n.attrs.get("axis", 1)), np.int64))
    b.emit(n, "DFT", inputs, attributes(n, drop=("axis",)))
