"""Lift of DynamicQuantizeLSTM: an LSTM whose weights ONNX Runtime's quantizer has made 8-bit numbers.
LSTM, GRU and RNN of ONNX need none. Source: onnxruntime/docs/ContribOperators.md."""

from __future__ import annotations

import numpy as np

from edgert.converters.onnx.builder import Builder, Refused
from edgert.converters.onnx.normalize import attributes, lift
from edgert.converters.onnx.reader import MICROSOFT, OnnxNode
from edgert.graph.ir import Array


@lift("DynamicQuantizeLSTM", domain=MICROSOFT)
def dynamic_quantize_lstm(b: Builder, n: OnnxNode) -> None:
    """Inputs X, W [D, I, 4H], R [D, H, 4H], B, sequence_lens, initial_h, initial_c, P, then scale and zero point of W
    and of R, [D] or [D, 4H]: an LSTM with these weights as floats."""
    w, r = _weights(b, n, 1, 8), _weights(b, n, 2, 10)
    inputs = [b.use(n.inputs[0]), b.store(f"{n.name}_w", w), b.store(f"{n.name}_r", r)]
    inputs += [b.use(n.input(i)) for i in range(3, 8)]
    b.notes.append(f"DynamicQuantizeLSTM {n.name!r} is computed in float: its weights are dequantized")
    b.emit(n, "LSTM", inputs, attributes(n))


def _weights(b: Builder, n: OnnxNode, at: int, scale_at: int) -> Array:
    """Input `at` as float32 [D, 4H, K]."""
    stored, scale = b.value(n.input(at)), b.value(n.input(scale_at))
    zero = b.value(n.input(scale_at + 1)) if n.has(scale_at + 1) else np.zeros(1, np.int8)
    if stored is None or stored.ndim != 3 or scale is None or zero is None:
        raise Refused("", "expected constant weights of rank 3 with constant scales and zero points")
    count = len(stored)
    if any(v.size not in (1, count, count * stored.shape[2]) for v in (scale, zero)):
        raise Refused("", "expected a scale and zero point per direction or per column")
    rows = [v.reshape(1, 1, 1) if v.size == 1 else v.reshape(count, 1, -1) for v in (scale, zero)]
    real = (stored.astype(np.float32) - rows[1].astype(np.float32)) * rows[0].astype(np.float32)
    return np.ascontiguousarray(real.swapaxes(1, 2))
