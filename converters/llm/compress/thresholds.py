"""Thresholds of gates: so many neurons rest, or as many as a stated loss allows, found on a text without training.
Every layer lets the same share rest (CATS, Lee et al. 2024); what is rounded afterwards is in `neurons.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from edgert.converters.llm.compress.calibration import moments_of
from edgert.converters.llm.compress.quality import loss_of
from edgert.converters.llm.compress.walk import Walk, Window
from edgert.converters.llm.weights import Weight
from edgert.errors import ConversionError
from edgert.graph.ir import Array, Graph, Node
from edgert.kernels_cpu.reference.neurons import active
from edgert.kernels_cpu.reference.registry import Call

SAMPLE = 1 << 16
"""Magnitudes of a layer that its threshold is read from: the share that rests is then known to 0.2 per cent."""
TRIED = 8
"""Windows of text that a loss is measured on while a share is looked for, of all there are."""
STEPS = 6
"""Shares tried: the last two are less than two per cent apart."""
LARGEST = 0.9
"""Share of neurons that may rest at most."""


@dataclass(frozen=True)
class Request:
    """What `--neurons` asks for. loss: per cent of perplexity that skipping may cost; share: of the neurons of every
    layer rest, on average; threshold: the magnitude of an activated gate up to which a neuron rests."""

    kind: Literal["loss", "share", "threshold"]
    value: float

    @property
    def calibrated(self) -> bool:
        return self.kind != "threshold" and self.value > 0

    def __str__(self) -> str:
        return {"loss": f"{self.value:g}%", "share": f"{self.value:g}", "threshold": f"t={self.value:g}"}[self.kind]


def parse_neurons(text: str) -> Request:
    """'1%', '0.4' or 't=0.05'. Raises ConversionError."""
    kind: Literal["loss", "share", "threshold"] = "share"
    number, most = text, 1.0
    if text.endswith("%"):
        kind, number, most = "loss", text[:-1], 1000.0
    elif text.startswith("t="):
        kind, number, most = "threshold", text[2:], math.inf
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not 0 <= value < most:
        raise ConversionError(
            "expected neurons as the loss that skipping may cost ('1%'), the share that rests ('0.4') or the "
            f"magnitude up to which they do ('t=0.05'), found {text!r}"
        )
    return Request(kind, value)


@dataclass
class Gates:
    """What a text shows of the gates of one layer. sizes: magnitudes of activated gates, float32 ascending, at most
    SAMPLE of them. node: its NeuronFFN."""

    node: Node
    sizes: Array

    def threshold(self, share: float) -> float:
        """With which `share` of the neurons rest, float32."""
        if share <= 0:
            return 0.0
        return float(self.sizes[min(len(self.sizes) - 1, int(share * len(self.sizes)))])

    def active(self, threshold: float) -> float:
        """The share of neurons above `threshold`."""
        return 1.0 - float(np.searchsorted(self.sizes, np.float32(threshold), side="right")) / len(self.sizes)


@dataclass
class Calibrated:
    """Thresholds by the names of the neurons. shares: of the neurons that are active with them, on average over the
    text; empty without one. loss: per cent that skipping adds to the perplexity of the windows tried, if measured."""

    request: Request
    thresholds: dict[str, float]
    shares: dict[str, float] = field(default_factory=dict)
    loss: float | None = None

    @property
    def share(self) -> float:
        """Of all neurons."""
        return float(np.mean(list(self.shares.values()))) if self.shares else math.nan

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"asked": str(self.request)}
        if self.loss is not None:
            found["calibrated_loss_percent"] = float(f"{self.loss:.4g}")
        if self.shares:
            found["active"] = float(f"{self.share:.4g}")
        found["layers"] = {
            name: {"threshold": float(f"{t:.6g}")}
            | ({"active": float(f"{self.shares[name]:.4g}")} if self.shares else {})
            for name, t in self.thresholds.items()
        }
        return found

    def describe(self) -> str:
        if not self.shares:
            return f"neurons rest up to a gate of {max(self.thresholds.values(), default=0.0):g}"
        low, high = min(self.shares.values()), max(self.shares.values())
        cost = "" if self.loss is None else f"; skipping the others costs {self.loss:.2f} % of perplexity there"
        return (
            f"of {len(self.shares)} layers {100 * self.share:.0f} % of the neurons are active on the calibration text "
            f"({100 * low:.0f} to {100 * high:.0f} % by layer){cost}"
        )


def observed(
    graph: Graph, weights: Mapping[str, Weight], windows: Sequence[Window]
) -> Iterator[tuple[Node, list[Array], list[Array]]]:
    """(NeuronFFN, x [n, D] of each window, gates [n, F] before their activation) of every layer, in order. Whoever
    replaces the weights of a layer meanwhile changes what later ones see."""
    nodes = {node.inputs[1]: node for node in graph.nodes if node.op == "NeuronFFN"}
    walk = Walk(graph, weights, windows)
    left = len(nodes)
    for product, inputs in walk.linears():
        node = nodes.get(product.outputs[0])
        if node is None:
            continue
        matrix = weights[product.inputs[1]].load()
        yield node, inputs, [x @ matrix.T for x in inputs]
        left -= 1
        if left == 0:
            return


def activated(node: Node, gate: Array) -> Array:
    """What the layer multiplies with, 0 where a neuron rests."""
    return active(Call(node.op, dict(node.attrs)), gate)


def gates_of(graph: Graph, weights: Mapping[str, Weight], windows: Sequence[Window]) -> Iterator[Gates]:
    """What `windows` show of every layer. Raises ConversionError for gates that are not finite."""
    for node, _, gates in observed(graph, weights, windows):
        call = Call(node.op, {**node.attrs, "threshold": 0.0})
        sizes = np.concatenate([np.abs(active(call, gate)).reshape(-1) for gate in gates])
        if not np.isfinite(sizes).all():
            raise ConversionError(f"expected finite gates of {node.inputs[2]!r} on the calibration text, found others")
        step = max(1, len(sizes) // SAMPLE)
        # an odd step meets every neuron in turn
        yield Gates(node, np.sort(sizes[:: step | 1]))


def moments_of_values(node: Node, up: Array, inputs: Sequence[Array], gates: Sequence[Array]) -> Array:
    """The moments [F, F] of what meets the down columns, `up` [F, D] being the rows."""
    made = [activated(node, gate) * (x @ up.T) for x, gate in zip(inputs, gates, strict=True)]
    return moments_of(node.inputs[2], made)


def apply(nodes: Sequence[Node], thresholds: Mapping[str, float]) -> None:
    """Writes the thresholds into the nodes."""
    for node in nodes:
        node.attrs["threshold"] = thresholds[node.inputs[2]]


def calibrate(
    graph: Graph,
    nodes: Sequence[Node],
    weights: Mapping[str, Weight],
    windows: Sequence[Window],
    request: Request,
    tell: Callable[[str, int, int], None],
) -> Calibrated:
    """Thresholds as `request` asks for, written into `nodes` of `graph`; the weights are as they are in the source.

    windows: none are needed for a threshold that is given. A loss is looked for by halving, on TRIED of the windows.
    """
    names = [node.inputs[2] for node in nodes]
    if not windows:
        found = Calibrated(request, dict.fromkeys(names, request.value if request.kind == "threshold" else 0.0))
        apply(nodes, found.thresholds)
        return found
    gates: list[Gates] = []
    for one in gates_of(graph, weights, windows):
        tell("gates", len(gates), len(nodes))
        gates.append(one)
    tell("gates", len(nodes), len(nodes))
    tried = [windows[i * len(windows) // min(TRIED, len(windows))] for i in range(min(TRIED, len(windows)))]

    def chosen(share: float) -> dict[str, float]:
        return {one.node.inputs[2]: one.threshold(share) for one in gates}

    def loss(thresholds: Mapping[str, float]) -> float:
        apply(nodes, thresholds)
        logits = Walk(graph, weights, tried).logits()
        return sum(loss_of(window, found) for window, found in zip(tried, logits, strict=True))

    tokens = sum(len(window) - 1 for window in tried)
    whole = loss(dict.fromkeys(names, 0.0))

    def cost(thresholds: Mapping[str, float]) -> float:
        return 100.0 * math.expm1((loss(thresholds) - whole) / tokens)

    if request.kind == "loss":
        low, high, best, price = 0.0, LARGEST, chosen(0.0), 0.0
        for step in range(STEPS if request.value > 0 else 0):
            tell("thresholds", step, STEPS)
            share = (low + high) / 2
            thresholds = chosen(share)
            found_cost = cost(thresholds)
            if found_cost <= request.value:
                low, best, price = share, thresholds, found_cost
            else:
                high = share
        tell("thresholds", STEPS, STEPS)
    else:
        best = dict.fromkeys(names, request.value) if request.kind == "threshold" else chosen(request.value)
        price = cost(best) if any(best.values()) else 0.0
    apply(nodes, best)
    return Calibrated(request, best, {one.node.inputs[2]: one.active(best[one.node.inputs[2]]) for one in gates}, price)
