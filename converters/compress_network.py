"""A network made smaller: pruned, rounded to int8 or both, and what that cost beside the float original.
The steps are in `network_prune/` and `quantize/`; the numbers are those of `report.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgert.converters.calibrate.collect import Execute, Feeds, Progress
from edgert.converters.network_prune.network import PrunedNetwork, prune_network
from edgert.converters.network_prune.options import LARGE_LOSS, NetworkPruning
from edgert.converters.passes.pipeline import optimize
from edgert.converters.quantize.equalize import equalize
from edgert.converters.quantize.post_training import post_training, spread
from edgert.converters.report import Accuracy, Report, agreement, layer_errors, top1
from edgert.datasets import Dataset
from edgert.errors import ConversionError
from edgert.format import ModelInfo
from edgert.graph.ir import Array, Graph

ERROR_SAMPLES = 16
"""Samples on which the error of every single tensor is measured."""

PRUNE_SAMPLES = 64
"""Samples whose inputs of every layer are seen while pruning; their windows are sampled in turn."""


@dataclass(frozen=True)
class Compression:
    """What is done to a network. samples: inputs to calibrate on, none for what needs none. test: data to measure
    on, where there is any."""

    int8: bool
    pruning: NetworkPruning | None = None
    samples: Sequence[Feeds] = ()
    test: Dataset | None = None
    observer: str = "mse"
    equalize: bool = True
    bias_correction: bool = True
    max_loss: float | None = None


@dataclass
class Compressed:
    """graph: the network to store. original: the float one it stands for. reference: a float one whose tensors have
    the same names and scales. compared: tensors to compare with it that are not quantized."""

    graph: Graph
    original: Graph
    reference: Graph
    compared: list[str] = field(default_factory=list)


def compress_network(
    graph: Graph, options: Compression, about: ModelInfo, report: Report, execute: Execute, progress: Progress | None
) -> Graph:
    """`graph`, an optimized float network, as `options` have it; `report` says what was done and lost.

    Raises ConversionError, also when more is lost than accepted.
    """
    found = Compressed(graph, graph, graph)
    grids: Mapping[str, Array] = {}
    # Equalization hides which weights are small, so that they are pruned first; but grids are made for equal ranges.
    early = options.pruning is not None and options.pruning.criterion == "sparsegpt"
    if options.pruning is not None:
        start = optimize(graph, passes=(equalize,)) if options.int8 and options.equalize and early else graph
        seen = spread(options.samples, PRUNE_SAMPLES) if options.samples else None
        pruned = prune_network(
            start, options.pruning, seen, int8=options.int8, restore=options.bias_correction, progress=progress
        )
        found = Compressed(pruned.graph, graph, pruned.original, list(pruned.chosen.sparsities))
        grids = pruned.grids
        describe(report, options.pruning, pruned)
    if options.int8:
        quantized = post_training(
            found.graph, options.samples, observer=options.observer,
            equalized=options.equalize and not early, bias_correction=options.bias_correction,
            grids=grids, execute=execute, progress=progress,
        )  # fmt: skip
        reference = found.reference if early else quantized.original
        found = Compressed(quantized.graph, graph, reference)
    if options.samples:
        report.calibration = {
            "samples": len(options.samples), "observer": options.observer, "equalize": options.equalize,
            "bias_correction": options.bias_correction,
        }  # fmt: skip
    measure(report, found, options, about, execute, progress)
    judge(report, options)
    return found.graph


def describe(report: Report, pruning: NetworkPruning, pruned: PrunedNetwork) -> None:
    """What was pruned, and what not and why."""
    report.pruning = {
        "criterion": pruning.criterion,
        "pattern": str(pruning.pattern),
        "sparsity": pruning.sparsity,
        "allocation": pruning.allocation,
        "refine": pruning.refine,
        "overrides": [str(override) for override in pruning.overrides],
        "sparsities": dict(pruned.chosen.sparsities),
        "output_errors": dict(pruned.errors),
        "left_dense": dict(pruned.chosen.left),
    }


def measure(
    report: Report,
    found: Compressed,
    options: Compression,
    about: ModelInfo,
    execute: Execute,
    progress: Progress | None,
) -> None:
    """Fills in errors, agreement and, with labels, accuracy, as far as there is data."""
    before, after, test = found.original, found.graph, options.test
    chosen = options.samples
    if not chosen and test is not None:
        chosen = list(test.spread(PRUNE_SAMPLES).feeds(before.inputs, about.preprocessing))
    if not chosen:
        return
    samples = spread(chosen, ERROR_SAMPLES)
    report.layers, report.outputs = layer_errors(found.reference, after, samples, execute, found.compared)
    if found.reference is not before:
        report.outputs = layer_errors(before, after, samples, execute, quantized_too=False)[1]
    report.agreement = agreement(before, after, chosen, execute)
    if test is None or test.labels is None or report.agreement is None:
        return

    def feeds() -> Iterable[Feeds]:
        return test.feeds(before.inputs, about.preprocessing)

    report.accuracy = Accuracy(
        top1(before, feeds(), test.labels, execute, progress, "accuracy before"),
        top1(after, feeds(), test.labels, execute, progress, "accuracy after"),
        len(test),
    )


def judge(report: Report, options: Compression) -> None:
    """Warns of a large loss and names what loses less. Raises ConversionError where more is lost than accepted."""
    pruning, known = options.pruning, bool(report.outputs)
    loss, meaning = report.loss()
    if pruning is not None and not known:
        report.warnings.append(
            "what pruning cost was not measured: give data with --calib, or labelled data with --eval"
        )
    elif pruning is not None and loss > LARGE_LOSS:
        report.warnings.append(f"pruning ({pruning}) cost much: {loss:.2f} {meaning}; {pruning.advice()}")
    if options.max_loss is not None and loss > options.max_loss:
        advice = "give more calibration data, another --observer, or keep --weights f32"
        raise ConversionError(
            f"the loss is {loss:.2f} ({meaning}), larger than the accepted {options.max_loss:g}; "
            f"{pruning.advice() if pruning is not None else advice}"
        )
