"""Post-training quantization as a whole: equalize, calibrate, quantize, correct biases, in this order.
Each step is a file of its own; Nagel et al. 2021, section 3.6, recommends this pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgert.converters.calibrate.collect import Execute, Feeds, Progress, collect_ranges
from edgert.converters.calibrate.observers import observer_named
from edgert.converters.passes.pipeline import optimize
from edgert.converters.quantize.correct_bias import correct_bias
from edgert.converters.quantize.equalize import equalize
from edgert.converters.quantize.quantize import quantize_graph
from edgert.graph.execute import run_graph
from edgert.graph.ir import Array, Graph

BIAS_SAMPLES = 32
"""Means over all positions of a few images are steady; more samples cost time in the reference operators."""


@dataclass(frozen=True)
class Quantized:
    """`graph` in int8, and `original`: the float graph with the same tensor names that it stands for."""

    original: Graph
    graph: Graph


def post_training(
    graph: Graph,
    samples: Sequence[Feeds],
    *,
    observer: str = "mse",
    equalized: bool = True,
    bias_correction: bool = True,
    grids: Mapping[str, Array] | None = None,
    execute: Execute = run_graph,
    progress: Progress | None = None,
) -> Quantized:
    """An optimized float graph in int8, calibrated on `samples`. grids: see `insert_qdq`.

    Raises ConversionError for an unknown observer, no samples, or activations that are not finite.
    """
    observe = observer_named(observer)
    original = optimize(graph, passes=(equalize,)) if equalized else graph
    ranges = collect_ranges(original, samples, observe, execute, progress, len(samples))
    quantized = quantize_graph(original, ranges, grids)
    if bias_correction:
        chosen = spread(samples, BIAS_SAMPLES)
        quantized = correct_bias(original, quantized, chosen, execute, progress)
    return Quantized(original, quantized)


def spread(samples: Sequence[Feeds], count: int) -> Sequence[Feeds]:
    """At most `count` samples, evenly spaced."""
    if len(samples) <= count:
        return samples
    return [samples[i * len(samples) // count] for i in range(count)]


def is_quantized(graph: Graph) -> bool:
    """Whether the source came with quantized operators of its own."""
    return any(node.op.startswith("QLinear") for node in graph.nodes)
