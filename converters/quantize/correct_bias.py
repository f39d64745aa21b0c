"""Bias correction: what quantization shifts the mean of each output channel by is taken out of its bias.
Nagel et al. 2019, section 4.2, with means measured on calibration data, layer by layer.

The mean of a linear operator's output is its weights applied to the mean of its input windows. So only
those means are needed: of the float network, and of the quantized one with all earlier layers corrected.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgert.converters.calibrate.collect import Execute, Feeds, Progress, batches, collect
from edgert.converters.passes.rewrite import prune
from edgert.converters.quantize.insert import QUANTIZED
from edgert.graph.evaluate import evaluate_node
from edgert.graph.execute import run_graph
from edgert.graph.ir import Array, Graph, Node, Quantization
from edgert.kernels_cpu.reference.window import window

BIAS_LIMIT = 2**30
"""Corrected biases stay well within int32; beyond it a correction is a fault of the data, and is clipped."""


def correct_bias(
    original: Graph,
    quantized: Graph,
    samples: Sequence[Feeds],
    execute: Execute = run_graph,
    progress: Progress | None = None,
) -> Graph:
    """`quantized` with int32 biases such that, on `samples`, each output channel has its float mean.

    original: the float graph that `quantize_graph` turned into `quantized`. Every QLinearConv and
    QLinearGemm of both is corrected, in order; the reference operators compute the quantized side.
    """
    graph = quantized.copy()
    makers = original.producers()
    layers = {
        id(node): makers[name]
        for node in graph.nodes
        if node.op in ("QLinearConv", "QLinearGemm")
        and (name := node.outputs[0].removesuffix(QUANTIZED)) in makers
        and makers[name].op in ("Conv", "Gemm")
    }
    means = float_means(original, list(layers.values()), samples, execute)
    walks = [dict(feeds) for feeds in batches(original, samples)]
    last_use = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    for i, node in enumerate(graph.nodes):
        twin = layers.get(id(node))
        if twin is not None:
            wanted = product(twin, original.constants[twin.inputs[1]], means[twin.outputs[0]])
            correct(graph, node, wanted, walks)
        for walk in walks:
            values = [_value(graph, walk, name) for name in node.inputs]
            walk.update(evaluate_node(graph, node, values))
            for name in node.inputs:
                if last_use.get(name) == i and name not in graph.outputs:
                    walk.pop(name, None)
        if progress is not None:
            progress("correct bias", i + 1, len(graph.nodes))
    return prune(graph)


def _value(graph: Graph, walk: Feeds, name: str) -> Array | None:
    if not name:
        return None
    return walk[name] if name in walk else graph.constants[name]


def float_means(graph: Graph, layers: Sequence[Node], samples: Sequence[Feeds], execute: Execute) -> dict[str, Array]:
    """Output name of each layer -> mean input window over `samples`."""
    totals: dict[str, Array] = {}
    counts: dict[str, int] = {}

    def visit(name: str, value: Array) -> None:
        for layer in layers:
            if layer.inputs[0] == name:
                mean = mean_window(layer, value, graph.constants[layer.inputs[1]].shape)
                totals[layer.outputs[0]] = totals.get(layer.outputs[0], 0.0) + mean * len(value)
                counts[layer.outputs[0]] = counts.get(layer.outputs[0], 0) + len(value)

    collect(graph, list(dict.fromkeys(layer.inputs[0] for layer in layers)), samples, visit, execute)
    return {name: total / counts[name] for name, total in totals.items()}


def mean_window(node: Node, x: Array, weight_shape: tuple[int, ...]) -> Array:
    """The mean over batch and output positions of what each tap of each input channel sees.

    x: real values. Returns float64 [C, *kernel] for a convolution, [K] for a Gemm.
    """
    if node.op.endswith("Gemm"):
        return np.asarray(x.astype(np.float64).mean(0))
    win = window(x.shape[2:], weight_shape[2:], dict(node.attrs))
    overhang = win.overhang(x.shape[2:])
    pads = [(b, a + h) for b, a, h in zip(win.before, win.after, overhang, strict=True)]
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    mean = np.zeros((*weight_shape[2:], x.shape[1]))
    axes = (0, *range(2, x.ndim))
    for tap, region in zip(np.ndindex(*win.kernel), win.taps(), strict=True):
        mean[tap] = x[(slice(None), slice(None), *region)].mean(axis=axes, dtype=np.float64)
    return np.moveaxis(mean, -1, 0)


def product(node: Node, weight: Array, mean: Array) -> Array:
    """`weight` (real values, as the node stores them) applied to a mean window: float64 [N]."""
    rows = weight.astype(np.float64).reshape(weight.shape[0], -1)
    group = node.attr_int("group", 1)
    columns = mean.reshape(group, -1)
    sums = np.einsum("gnk,gk->gn", rows.reshape(group, -1, rows.shape[1]), columns)
    return np.asarray(sums).reshape(-1)


def correct(graph: Graph, node: Node, wanted: Array, walks: Sequence[dict[str, Array]]) -> None:
    """Adds to the bias of `node` the steps that bring the mean of its products to `wanted`, in place."""
    x_quant, w_quant = quantization(graph, node.inputs[0]), quantization(graph, node.inputs[1])
    stored = graph.constants[node.inputs[1]]
    values = [walk[node.inputs[0]] for walk in walks]
    mean = np.zeros(())
    for value in values:
        x = (value.astype(np.float32) - np.float32(x_quant.zero_point)) * x_quant.scale
        mean = mean + mean_window(node, x, stored.shape) * (len(value) / sum(map(len, values)))
    found = product(node, stored, mean) * w_quant.scale
    step = (x_quant.scale * w_quant.scale).astype(np.float32)
    bias = np.zeros(len(step)) if len(node.inputs) < 3 or not node.inputs[2] else graph.constants[node.inputs[2]]
    corrected = np.clip(np.rint(bias + (wanted - found) / step), -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
    name = graph.add_constant(
        f"{node.outputs[0]}_bias", corrected, Quantization(step, np.zeros(len(step), np.int32), 0)
    )
    node.inputs = (*node.inputs[:2], name, *node.inputs[3:])


def quantization(graph: Graph, tensor: str) -> Quantization:
    quant = graph.types[tensor].quant
    assert quant is not None, f"{tensor} of a quantized operator has no quantization"
    return quant
