"""Shape function of feed-forward layers whose neurons lie one by one.
What they compute is in `kernels_cpu/reference/neurons.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import merge_dims, not_quantized, same_dtype
from edgert.graph.infer_conv import check_same_shape
from edgert.graph.infer_elementwise import one_of, present
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, operator
from edgert.kernels_cpu.reference.neurons import NEURON_ACTIVATIONS


@operator("NeuronFFN", inputs=(3, 4))
def neuron_ffn(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x [T, D], gate [T, F], neurons [F, 2, D] and perhaps a residual [T, D] to [T, D], float32."""
    x, gate, neurons = present(ins[:3])
    given = [kind for kind in ins if kind is not None]
    not_quantized(*given)
    one_of(same_dtype(*given), ("float32",))
    shapes = f"shapes {x.shape}, {gate.shape} and {neurons.shape}"
    check(len(x.shape) == len(gate.shape) == 2 and len(neurons.shape) == 3, "[T, D], [T, F] and [F, 2, D]", shapes)
    check(neurons.shape[1] == 2, "a row and a column for each neuron, [F, 2, D]", neurons.shape)
    rows = merge_dims((x.shape[0], gate.shape[0]), "T (the rows of x and of gate)")
    merge_dims((gate.shape[1], neurons.shape[0]), "F (the neurons)")
    width = merge_dims((x.shape[1], neurons.shape[2]), "D (the last axis of x and of the neurons)")
    kind = node.attr_str("activation", "Silu")
    check(kind in NEURON_ACTIVATIONS, f"an activation among {', '.join(NEURON_ACTIVATIONS)}", repr(kind))
    threshold = node.attr_float("threshold", 0.0)
    check(threshold >= 0.0, "a threshold of 0 or more", threshold)
    residual = ins[3] if len(ins) > 3 else None
    if residual is not None:
        check_same_shape((rows, width), residual.shape, "a residual")
    return [TensorType(x.dtype, (rows, width))]
