"""What compression did to a network: error of each tensor, bytes, and accuracy where labels are given.
A plain dictionary for the header of the file, and a table for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edgert.converters.calibrate.collect import Execute, Feeds, Progress, batches, with_outputs
from edgert.converters.quantize.insert import QUANTIZED
from edgert.graph.execute import run_graph
from edgert.graph.ir import Array, Graph

PERFECT_DB = 200.0
"""The signal-to-noise ratio written for a tensor without any error; JSON has no infinity."""

SHOWN_LAYERS = 5

NAME_WIDTH = 60
"""Characters of a tensor's name in a table; exporters that fuse layers join their names to hundreds."""

SHOWN_ZEROS = 0.05
"""Share of zeros from which a layer's weights have a line in the table."""


@dataclass
class ErrorSum:
    """Sums over samples that give the error of one tensor."""

    signal: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    power: float = 0.0

    def add(self, wanted: Array, found: Array) -> None:
        a, b = wanted.astype(np.float64).reshape(-1), found.astype(np.float64).reshape(-1)
        self.signal += float(a @ a)
        self.power += float(b @ b)
        self.product += float(a @ b)
        self.noise += float((a - b) @ (a - b))

    @property
    def sqnr_db(self) -> float:
        """10 log10(signal / noise)."""
        if self.noise == 0.0:
            return PERFECT_DB
        return 10.0 * float(np.log10(max(self.signal, 1e-30) / self.noise))

    @property
    def cosine(self) -> float:
        scale = float(np.sqrt(self.signal * self.power))
        return self.product / scale if scale else 1.0


@dataclass(frozen=True)
class LayerError:
    """The error of one tensor of the quantized network against the float one."""

    tensor: str
    operator: str
    sqnr_db: float
    cosine: float


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy, in per cent, on `samples` labelled samples."""

    before: float
    after: float
    samples: int


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer as they are stored. zeros: their share among the weights. pattern: '' if dense, and
    then why. Sizes in bytes, `dense` with all zeros."""

    tensor: str
    operator: str
    zeros: float
    pattern: str
    nbytes: int
    dense: int
    why: str = ""

    def line(self, width: int) -> str:
        stored = self.pattern or (f"dense: {self.why}" if self.why else "dense")
        name = fitted(self.tensor, width)
        return f"{name:{width}}  {100 * self.zeros:5.1f} %  {self.nbytes:9d}  {self.dense:9d}  {stored}"


@dataclass
class Report:
    """Everything the converter can say about what it did. Sizes in bytes.

    weights: what was asked for; stored_as: what they are instead, where the source is quantized already.
    nodes_before: in the source, bodies of control flow included; nodes: what each pass did, the first of them to the
    graph as it was imported, whose nodes may be more or fewer. operators: of the file, bodies included.
    """

    weights: str
    stored_as: str = ""
    nodes_before: int = 0
    nodes: list[dict[str, Any]] = field(default_factory=list)
    bytes_before: int = 0
    bytes_after: int = 0
    operators: dict[str, int] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    layers: list[LayerError] = field(default_factory=list)
    outputs: list[LayerError] = field(default_factory=list)
    agreement: float | None = None
    accuracy: Accuracy | None = None
    pruning: dict[str, Any] = field(default_factory=dict)
    stored: list[LayerWeights] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def loss(self) -> tuple[float, str]:
        """(loss in per cent, what it means): points of top-1 accuracy where there are labels, else answers
        that changed on the calibration data, else the relative error of the worst output."""
        if self.accuracy is not None:
            return self.accuracy.before - self.accuracy.after, "points of top-1 accuracy"
        if self.agreement is not None:
            return 100.0 - self.agreement, "per cent of answers changed on the calibration data"
        worst = min((error.sqnr_db for error in self.outputs), default=PERFECT_DB)
        return 100.0 * 10.0 ** (-worst / 20.0), "per cent relative error of the worst output"

    def as_dict(self) -> dict[str, Any]:
        """JSON values only; floats rounded to what they mean."""
        return dict(_rounded(asdict(self)))

    def table(self, every_layer: bool = False) -> str:
        """Lines for people: totals first, then the worst layers, or every one from the worst."""
        sizes = f"{_megabytes(self.bytes_before)} -> {_megabytes(self.bytes_after)}"
        lines = [f"weights {self.stored_as or self.weights}: {sizes}"]
        if self.nodes_before:
            lines.append(f"nodes: {self.nodes_before} in the source -> {sum(self.operators.values())}")
        lines.append("operators: " + ", ".join(f"{n} {op}" for op, n in sorted(self.operators.items())))
        if self.accuracy is not None:
            a = self.accuracy
            change = f"{a.before:.2f} % -> {a.after:.2f} % ({a.after - a.before:+.2f})"
            lines.append(f"top-1 on {a.samples} samples: {change}")
        if self.agreement is not None:
            lines.append(f"same top-1 answer on {self.agreement:.1f} % of the calibration samples")
        lines += [f"output {error.tensor}: {error.sqnr_db:.1f} dB, cosine {error.cosine:.5f}" for error in self.outputs]
        if self.layers:
            worst = sorted(self.layers, key=lambda error: error.sqnr_db)
            worst = worst if every_layer else worst[:SHOWN_LAYERS]
            width = min(max(len(error.tensor) for error in worst), NAME_WIDTH)
            lines.append(f"{'tensor':{width}}  {'operator':24}  SQNR dB   cosine")
            lines += [
                f"{fitted(e.tensor, width):{width}}  {e.operator:24}  {e.sqnr_db:7.1f}  {e.cosine:.5f}" for e in worst
            ]
        lines += self.sparsity_lines(every_layer)
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])

    def sparsity_lines(self, every_layer: bool) -> list[str]:
        """What was pruned, and a line for each layer with zeros, or for every one."""
        lines = []
        if self.pruning:
            p = self.pruning
            chosen = p["sparsities"].values()
            shared = f", from {100 * min(chosen):.0f} to {100 * max(chosen):.0f} %" if len(set(chosen)) > 1 else ""
            lines.append(
                f"pruned {len(chosen)} layers by {p['criterion']}, {p['pattern']} {100 * p['sparsity']:g} %{shared}; "
                f"{len(p['left_dense'])} left dense"
            )
        sparse = [layer for layer in self.stored if layer.pattern]
        if sparse:
            found, dense = sum(layer.nbytes for layer in sparse), sum(layer.dense for layer in sparse)
            lines.append(f"{len(sparse)} layers without their zeros: {_megabytes(dense)} -> {_megabytes(found)}")
        shown = [layer for layer in self.stored if every_layer or layer.zeros >= SHOWN_ZEROS]
        if shown:
            width = min(max(len(layer.tensor) for layer in shown), NAME_WIDTH)
            lines.append(f"{'weights of':{width}}    zeros      bytes      dense  stored as")
            lines += [layer.line(width) for layer in shown]
        return lines


def count_operators(graph: Graph) -> dict[str, int]:
    """Operator -> number of nodes, those in bodies of control flow included."""
    return dict(Counter(node.op for each in (graph, *graph.bodies()) for node in each.nodes))


def fitted(name: str, width: int) -> str:
    """`name` in at most `width` characters: the middle goes, as names of exporters differ at either end."""
    return name if len(name) <= width else f"{name[: width // 2]}…{name[len(name) - (width - 1 - width // 2) :]}"


def constant_bytes(graph: Graph) -> int:
    """Bytes of all constants as they are in memory."""
    return sum(value.nbytes for value in graph.constants.values())


def layer_errors(
    original: Graph,
    quantized: Graph,
    samples: Iterable[Feeds],
    execute: Execute = run_graph,
    compared: Sequence[str] = (),
    quantized_too: bool = True,
) -> tuple[list[LayerError], list[LayerError]]:
    """(errors of quantized tensors in order, errors of outputs) over `samples`.

    original is the float graph that was quantized, with the same tensor and output names. compared: more tensors to
    compare, by name; quantized_too: False for them and the outputs alone. Tensors of other sizes, which lost channels,
    are left out.
    """
    known = {name for node in original.nodes for name in node.outputs} | set(original.inputs)
    made = {name: node.op for node in quantized.nodes for name in node.outputs}
    pairs = {
        name: stored
        for stored in made
        if quantized_too and stored.endswith(QUANTIZED) and (name := stored.removesuffix(QUANTIZED)) in known
    }
    pairs |= {name: name for name in compared if name in made and name not in pairs and name not in original.outputs}
    pairs = {a: b for a, b in pairs.items() if original.types[a].shape == quantized.types[b].shape}
    float_side = with_outputs(original, [name for name in pairs if name not in original.inputs])
    stored_side = with_outputs(quantized, list(pairs.values()))
    sums = {name: ErrorSum() for name in [*pairs, *original.outputs]}
    for feeds in batches(original, samples):
        wanted = {**execute(float_side, feeds), **feeds}
        found = execute(stored_side, feeds)
        for name, stored in pairs.items():
            exact = stored == name
            sums[name].add(wanted[name], found[stored] if exact else dequantized(quantized, stored, found[stored]))
        for name in original.outputs:
            if name not in pairs:
                sums[name].add(wanted[name], found[name])
    layers = [LayerError(name, made[stored], sums[name].sqnr_db, sums[name].cosine) for name, stored in pairs.items()]
    outputs = [LayerError(name, made.get(name, ""), sums[name].sqnr_db, sums[name].cosine) for name in original.outputs]
    return layers, outputs


def dequantized(graph: Graph, tensor: str, stored: Array) -> Array:
    quant = graph.types[tensor].quant
    assert quant is not None
    return np.asarray((stored.astype(np.float32) - np.float32(quant.zero_point)) * quant.scale)


def top1(
    graph: Graph,
    samples: Iterable[Feeds],
    labels: Sequence[int],
    execute: Execute = run_graph,
    progress: Progress | None = None,
    stage: str = "accuracy",
) -> float:
    """Per cent of samples whose first output, scores [B, n], is largest at their label."""
    right = done = 0
    for feeds in batches(graph, samples):
        found = execute(graph, feeds)[graph.outputs[0]].argmax(1)
        right += int(np.sum(found == np.asarray(labels[done : done + len(found)])))
        done += len(found)
        if progress is not None:
            progress(stage, done, len(labels))
    return 100.0 * right / max(done, 1)


def agreement(
    original: Graph, quantized: Graph, samples: Sequence[Feeds], execute: Execute = run_graph
) -> float | None:
    """Per cent of samples on which both give the same class; None when the first output is not scores [B, n]."""
    name, same = original.outputs[0], 0
    kind = original.types.get(name)
    if kind is None or kind.dtype != "float32" or len(kind.shape) != 2 or kind.shape[1] == 1:
        return None
    for feeds in batches(original, samples):
        wanted, found = execute(original, feeds)[name], execute(quantized, feeds)[name]
        same += int(np.sum(wanted.argmax(1) == found.argmax(1)))
    return 100.0 * same / max(len(samples), 1)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
