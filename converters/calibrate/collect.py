"""Runs a float graph on calibration data and keeps a histogram of every tensor asked for.
One batch of activations is in memory at a time; how they are computed is the caller's choice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from edgert.converters.calibrate.histogram import Histogram
from edgert.converters.calibrate.observers import Observer, Range
from edgert.errors import ConversionError
from edgert.graph.execute import run_graph
from edgert.graph.ir import Array, Graph

Feeds: TypeAlias = Mapping[str, Array]
Execute: TypeAlias = Callable[[Graph, Feeds], dict[str, Array]]
"""execute(graph, feeds) -> the values of graph.outputs. `run_graph` is one; a fast one may stand in."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""progress(stage, done, total)."""

BATCH_BYTES = 1 << 18
"""Input bytes up to which samples are joined: 80 images of 28 x 28, one of 224 x 224. Activations are many
times their input."""


def batches(graph: Graph, samples: Iterable[Feeds]) -> Iterator[Feeds]:
    """`samples` joined along the first axis where every input of `graph` leaves it open, as they are elsewhere.

    Small networks spend their time between operators, so a few large batches are many times faster.
    """
    first = {graph.types[name].shape[:1] for name in graph.inputs}
    if len(first) != 1 or not isinstance(next(iter(first), (0,))[0], str):
        yield from samples
        return
    held: list[Feeds] = []
    for feeds in samples:
        if held and not _joins(held, feeds):
            yield _joined(held)
            held = []
        held.append(feeds)
    if held:
        yield _joined(held)


def _joins(held: Sequence[Feeds], feeds: Feeds) -> bool:
    size = sum(value.nbytes for value in feeds.values())
    fits = (len(held) + 1) * size <= BATCH_BYTES
    return fits and all(held[0][name].shape[1:] == value.shape[1:] for name, value in feeds.items())


def _joined(held: Sequence[Feeds]) -> Feeds:
    return {name: np.concatenate([feeds[name] for feeds in held]) for name in held[0]} if len(held) > 1 else held[0]


def batch_size(feeds: Feeds) -> int:
    """The number of samples in a batch."""
    return len(next(iter(feeds.values())))


def with_outputs(graph: Graph, tensors: Sequence[str]) -> Graph:
    """A copy that also returns `tensors`."""
    copy = graph.copy()
    copy.outputs = list(dict.fromkeys([*graph.outputs, *tensors]))
    return copy


def float_activations(graph: Graph) -> list[str]:
    """The float tensors that depend on the inputs, in order of computation."""
    made = [name for node in graph.nodes for name in node.outputs if name]
    known = (name for name in [*graph.inputs, *made] if name in graph.types)
    return [name for name in known if graph.types[name].dtype == "float32"]


def collect(
    graph: Graph,
    tensors: Sequence[str],
    samples: Iterable[Feeds],
    visit: Callable[[str, Array], None],
    execute: Execute = run_graph,
    progress: Progress | None = None,
    total: int = 0,
) -> int:
    """Calls visit(tensor, value) for each of `tensors` and each batch. Returns the number of samples.

    Raises ConversionError when there is no sample at all.
    """
    observed = set(tensors)
    watched = with_outputs(graph, [name for name in tensors if name not in graph.inputs])
    count = 0
    for feeds in batches(graph, samples):
        for name, value in {**execute(watched, feeds), **feeds}.items():
            if name in observed:
                visit(name, value)
        count += batch_size(feeds)
        if progress is not None:
            progress("calibrate", count, total)
    if count == 0:
        raise ConversionError("expected calibration data, found no sample; give images or an .npz with --calib")
    return count


def collect_ranges(
    graph: Graph,
    samples: Iterable[Feeds],
    observer: Observer,
    execute: Execute = run_graph,
    progress: Progress | None = None,
    total: int = 0,
) -> dict[str, Range]:
    """The range of every float activation of `graph` over `samples`, as `observer` sees it.

    Raises ConversionError when there is no sample, or when a tensor was not finite.
    """
    tensors = float_activations(graph)
    histograms = {name: Histogram() for name in tensors}

    def visit(name: str, value: Array) -> None:
        if not np.isfinite(value).all():
            raise ConversionError(
                f"expected finite activations, found others in {name}; check the preprocessing (mean, scale)"
            )
        histograms[name].add(value)

    collect(graph, tensors, samples, visit, execute, progress, total)
    return {name: observer(histogram) for name, histogram in histograms.items()}
