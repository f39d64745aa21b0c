"""Lifts of ONNX Runtime's norms beside attention, of its embeddings, and of split gates.
LayerNormalization with a skip is in `normalize_microsoft.py`. Source: onnxruntime/docs/ContribOperators.md."""

from __future__ import annotations

import numpy as np

from edgert.converters.onnx.builder import Builder, Refused
from edgert.converters.onnx.normalize import lift
from edgert.converters.onnx.normalize_attention import Steps
from edgert.converters.onnx.reader import MICROSOFT, OnnxNode
from edgert.graph.ir import Attr


@lift("SimplifiedLayerNormalization")
@lift("SimplifiedLayerNormalization", domain=MICROSOFT)
def simplified_layer_normalization(b: Builder, n: OnnxNode) -> None:
    """RMSNormalization, from before ONNX had it."""
    if any(name in b.wanted for name in n.outputs[1:] if name):
        raise Refused("", "the inverse deviation is used; export the model for inference")
    attrs: dict[str, Attr] = {"axis": int(n.attrs.get("axis", -1)), "epsilon": float(n.attrs.get("epsilon", 1e-5))}
    b.emit(n, "RMSNormalization", [b.use(name) for name in n.inputs], attrs, n.outputs[:1])


@lift("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_simplified_layer_normalization(b: Builder, n: OnnxNode) -> None:
    """RMSNormalization(input + skip + bias), inputs input, skip, gamma, bias; the fourth output is the sum."""
    if any(name in b.wanted for name in n.outputs[1:3] if name):
        raise Refused("", "mean and inverse deviation are used; export the model for inference")
    steps = Steps(b, n)
    summed = n.outputs[3] if len(n.outputs) > 3 and n.outputs[3] in b.wanted else ""
    x = steps("Add", b.use(n.inputs[0]), b.use(n.inputs[1]), out="" if n.has(3) else summed)
    if n.has(3):
        x = steps("Add", x, b.use(n.inputs[3]), out=summed)
    epsilon = float(n.attrs.get("epsilon", 1e-12))
    steps("RMSNormalization", x, b.use(n.inputs[2]), axis=-1, epsilon=epsilon, out=n.outputs[0])


@lift("EmbedLayerNormalization", domain=MICROSOFT)
def embed_layer_normalization(b: Builder, n: OnnxNode) -> None:
    """Inputs input_ids [B, S], segment_ids, word, position and segment embeddings, gamma, beta, mask [B, S],
    position_ids; outputs the norm of the sum of embeddings, the number of words of each row, the sum."""
    steps = Steps(b, n)
    total = steps("Gather", b.use(n.inputs[2]), b.use(n.inputs[0]), axis=0)
    at = b.use(n.inputs[8]) if n.has(8) else steps.count(steps.size(b.use(n.inputs[0]), 1))
    last = 3 if n.has(1) else 2
    summed = n.outputs[2] if len(n.outputs) > 2 and n.outputs[2] in b.wanted else ""
    positions = steps("Gather", b.use(n.inputs[3]), at, axis=0)
    total = steps("Add", total, positions, out=summed if last == 2 else "")
    if last == 3:
        segments = steps("Gather", b.use(n.inputs[4]), b.use(n.inputs[1]), axis=0)
        total = steps("Add", total, segments, out=summed)
    norm = [b.use(n.inputs[5]), b.use(n.inputs[6])]
    epsilon = float(n.attrs.get("epsilon", 1e-12))
    steps("LayerNormalization", total, *norm, axis=-1, epsilon=epsilon, out=n.outputs[0])
    if len(n.outputs) > 1 and n.outputs[1] in b.wanted:
        mask = (
            b.use(n.inputs[7])
            if n.has(7)
            else steps("Mul", b.use(n.inputs[0]), steps.constant("zero", np.zeros(1, np.int32)))
        )
        steps("ReduceSum", mask, steps.ints(1), keepdims=0, out=n.outputs[1])


@lift("BiasSplitGelu", domain=MICROSOFT)
def bias_split_gelu(b: Builder, n: OnnxNode) -> None:
    """left * Gelu(right) of the halves of x [N, S, D] + bias [D]."""
    steps = Steps(b, n)
    shape = b.hint(n.inputs[1]).shape or b.hint(n.inputs[0]).shape
    width = shape[-1] if shape else None
    if not isinstance(width, int) or width % 2:
        raise Refused("", "expected an even, known width")
    x = steps("Add", b.use(n.inputs[0]), b.use(n.inputs[1]))
    left, right = steps.split(x, 2, [width // 2] * 2)
    steps("Mul", left, steps("Gelu", right, approximate="none"), out=n.outputs[0])
