"""Gated feed-forward layers taken apart into neurons: the gate stays a product, up rows and down columns go together.
Which neurons are skipped is calibrated in `compress/thresholds.py`, how they are rounded in `compress/neurons.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgert.converters.llm.checkpoint import ExactBlocks
from edgert.converters.llm.weights import Weight, dequantized, take_rows
from edgert.graph.ir import Array, Attr, Graph, Node, TensorType

NeuronEncoding = Literal["neurons4", "neurons8"]


@dataclass(frozen=True)
class Rows:
    """Rows start .. stop - 1 of a weight."""

    whole: Weight
    start: int
    stop: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.stop - self.start, *self.whole.shape[1:])

    @property
    def source(self) -> str:
        return self.whole.source

    def load(self) -> Array:
        return self.whole.load()[self.start : self.stop]

    def exact(self) -> ExactBlocks | None:
        blocks = self.whole.exact()
        return None if blocks is None else take_rows(blocks, np.arange(self.start, self.stop))


@dataclass(frozen=True)
class Bundle:
    """The neurons [F, 2, D] of a layer: `up` [F, D], and the columns of `down` [D, F]."""

    up: Weight
    down: Weight

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.up.shape[0], 2, self.up.shape[1])

    @property
    def source(self) -> str:
        return " + ".join(dict.fromkeys((self.up.source, self.down.source)))

    def load(self) -> Array:
        return np.stack([self.up.load(), self.down.load().T], axis=1)

    def exact(self) -> None:
        return None


@dataclass(frozen=True)
class HeldNeurons:
    """Rounded neurons: rows and columns [F, D] in q4, or both in q8g. error: as in HeldBlocks."""

    up: ExactBlocks
    down: ExactBlocks
    source: str = "quantized"
    error: float = 0.0

    @property
    def encoding(self) -> NeuronEncoding:
        return "neurons4" if self.up.encoding == "q4" else "neurons8"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.up.values.shape[0], 2, self.up.values.shape[1])

    def load(self) -> Array:
        return np.stack([dequantized(self.up), dequantized(self.down)], axis=1)

    def exact(self) -> None:
        return None


def take_apart(graph: Graph, weights: Mapping[str, Weight]) -> tuple[Graph, dict[str, Weight], list[Node]]:
    """(graph, weights, its NeuronFFN nodes) with every gated layer down(act(gate x) * up x) as Gemm and NeuronFFN.

    'layers.i.gate_up' and 'layers.i.down' become 'layers.i.gate' and 'layers.i.neurons'. Thresholds are 0, so that
    nothing else changes. Layers with biases stay as they are.
    """
    graph, weights, found = graph.copy(), dict(weights), []
    makers, readers = graph.producers(), graph.consumers()
    for down in list(graph.nodes):
        layer = _gated(graph, down, makers, readers)
        if layer is None:
            continue
        between, activation = layer
        both, prefix = between[0].inputs[1], down.inputs[1].removesuffix(".down")
        x, half = between[0].inputs[0], weights[both].shape[0] // 2
        gate, neurons = f"{prefix}.gate", f"{prefix}.neurons"
        weights[gate], up = Rows(weights[both], 0, half), Rows(weights[both], half, 2 * half)
        weights[neurons] = Bundle(up, weights[down.inputs[1]])
        residual = down.inputs[-1:] if down.attr_int("residual", 0) else ()
        product = Node("Gemm", (x, gate), (f"{gate}.out",), {"transB": 1}, f"{gate}.out")
        attrs: dict[str, Attr] = {"activation": activation, "threshold": 0.0}
        ffn = Node("NeuronFFN", (x, f"{gate}.out", neurons, *residual), down.outputs, attrs, down.name)
        graph.nodes[graph.nodes.index(between[0])] = product
        graph.nodes[graph.nodes.index(down)] = ffn
        for node in between[1:]:
            graph.nodes.remove(node)
        for name in (both, down.inputs[1]):
            del weights[name], graph.types[name]
        for name in (gate, neurons):
            graph.types[name] = TensorType("float32", weights[name].shape)
        for node in between:
            for name in node.outputs:
                graph.types.pop(name, None)
        found.append(ffn)
    return graph, weights, found


def _gated(
    graph: Graph, down: Node, makers: Mapping[str, Node], readers: Mapping[str, list[Node]]
) -> tuple[list[Node], str] | None:
    """(the nodes before `down`, the product first; the activation of the gate) of a gated layer without biases."""
    added = down.inputs[2:-1] if down.attr_int("residual", 0) else down.inputs[2:]
    if down.op != "Gemm" or any(added):
        return None
    last = makers.get(down.inputs[0])
    if last is None or readers[last.outputs[0]] != [down]:
        return None
    if last.op == "GLU":
        between, activation = [last], last.attr_str("activation", "Silu")
        split = last.inputs[0]
    elif last.op == "Mul":
        relu, up = (makers.get(name) for name in last.inputs)
        gate = makers.get(relu.inputs[0]) if relu is not None and relu.op == "Relu" else None
        if relu is None or up is None or gate is None or (gate.op, up.op) != ("Slice", "Slice"):
            return None
        if gate.inputs[0] != up.inputs[0] or graph.constants[gate.inputs[1]].any():
            return None
        between, activation, split = [gate, up, relu, last], "Relu", gate.inputs[0]
    else:
        return None
    product = makers.get(split)
    if product is None or product.op != "Gemm" or len(product.inputs) != 2:
        return None
    if any(reader not in between for node in (product, *between[:-1]) for reader in readers[node.outputs[0]]):
        return None
    return [product, *between], activation
