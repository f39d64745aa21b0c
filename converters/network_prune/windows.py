"""What the convolutions of a network see: sampled windows of their inputs as rows, layer by layer.
Two networks walk in step, the original and the one whose layers are being replaced; memory is bounded by samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgert.converters.calibrate.collect import Feeds, Progress, batches
from edgert.converters.network_prune.layers import CELL
from edgert.graph.evaluate import evaluate_node
from edgert.graph.ir import Array, Graph, Node
from edgert.kernels_cpu.reference.window import window

ROWS = 8192
"""Windows per layer over all samples: several for every column of the widest pointwise layers."""

VALUES = 1 << 25
"""Values of all windows of a layer, at most: 128 MB in float32. Layers of many taps get fewer windows."""


@dataclass(frozen=True)
class Seen:
    """A layer, and the same windows of its inputs in both networks: float32 [P, taps * C4], channels padded."""

    node: Node
    dense: Array
    pruned: Array


def walk(
    dense: Graph, pruned: Graph, layers: Collection[str], samples: Sequence[Feeds], progress: Progress | None = None
) -> Iterator[Seen]:
    """What each of `layers` (output tensors) sees, in order. `pruned` is a copy of `dense`, whose layers the caller
    may replace, weights and bias, when they are given: what comes later sees what they make of it.

    The given node belongs to `pruned`. Computed by the reference operators.
    """
    wholes = [dict(feeds) for feeds in batches(dense, samples)]
    others: list[dict[str, Array]] = [{} for _ in wholes]
    last_use = {name: i for i, node in enumerate(dense.nodes) for name in node.inputs}
    total = sum(len(next(iter(whole.values()))) for whole in wholes)
    final = max((i for i, node in enumerate(dense.nodes) if node.outputs[0] in layers), default=-1)
    for i, (node, twin) in enumerate(zip(dense.nodes[: final + 1], pruned.nodes, strict=False)):
        if node.outputs[0] in layers:
            yield seen(dense, twin, wholes, others, total)
        for whole, other in zip(wholes, others, strict=True):
            values = [_value(dense, whole, name) for name in node.inputs]
            made = evaluate_node(dense, node, values)
            if twin.inputs != node.inputs or any(name in other for name in node.inputs):
                changed = [other[name] if name in other else _value(pruned, whole, name) for name in twin.inputs]
                other.update(evaluate_node(pruned, twin, changed))
            whole.update(made)
            for name in node.inputs:
                if last_use.get(name) == i:
                    whole.pop(name, None)
                    other.pop(name, None)
        if progress is not None:
            progress("prune", i + 1, final + 1)


def _value(graph: Graph, values: dict[str, Array], name: str) -> Array | None:
    if not name:
        return None
    return values[name] if name in values else graph.constants[name]


def seen(
    graph: Graph, node: Node, wholes: Sequence[dict[str, Array]], others: Sequence[dict[str, Array]], total: int
) -> Seen:
    """The windows of `node` in all batches; the two sides are one array where they are equal."""
    name, shape = node.inputs[0], graph.types[node.inputs[1]].static_shape
    columns = int(np.prod(shape[2:])) * (-(-shape[1] // CELL) * CELL)
    count = max(min(ROWS, VALUES // columns) // total, 1)
    dense = np.concatenate([windows(node, whole[name], shape, count) for whole in wholes])
    if not any(name in other for other in others):
        return Seen(node, dense, dense)
    return Seen(node, dense, np.concatenate([windows(node, other[name], shape, count) for other in others]))


def windows(node: Node, x: Array, shape: tuple[int, ...], count: int) -> Array:
    """At most `count` windows of every sample of `x` [B, C, *S], of which weights of `shape` [N, C, *K] see each:
    float32 [B * count, taps * C4]. Which ones is the same for inputs of one size."""
    win = window(x.shape[2:], shape[2:], dict(node.attrs))
    overhang = win.overhang(x.shape[2:])
    pads = [(b, a + h) for b, a, h in zip(win.before, win.after, overhang, strict=True)]
    x = np.pad(x, [(0, 0), (0, 0), *pads]) if any(map(any, pads)) else x
    places = int(np.prod(win.out))
    chosen = np.random.default_rng(0).permutation(places)[:count] if places > count else np.arange(places)
    at = np.unravel_index(np.sort(chosen), win.out)
    every: Any = slice(None)
    taps = [x[(every, every, *region)][(every, every, *at)] for region in win.taps()]  # each [B, C, P]
    rows = np.stack([np.moveaxis(tap, 1, 2) for tap in taps], axis=2)  # [B, P, taps, C]
    rows = np.pad(rows, ((0, 0), (0, 0), (0, 0), (0, -shape[1] % CELL)))
    return np.ascontiguousarray(rows.reshape(rows.shape[0] * rows.shape[1], -1), np.float32)
