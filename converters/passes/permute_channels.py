"""Channels in an order that puts alike ones side by side, so that pruning by blocks takes what matters least.
Exact: the network stays the same up to the order of sums. What is pruned afterwards is `converters/network_prune`.

Blocks join four rows, and four columns, of a matrix that have nothing to do with each other but their numbers. With
thresholds held, what pruning keeps is a sum over blocks of max(score - threshold, 0), which grows when rows that
matter in the same places share their blocks. Groups of four are built greedily and improved by exchanges, one space
of channels after the other, as Pool and Yu 2021, "Channel Permutations for N:M Sparsity", do for single matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from edgert.converters.passes.channel_spaces import ChannelSpaces, Use, renumber
from edgert.converters.prune.patterns import Pattern
from edgert.graph.ir import Array, Graph

GROUP = 4
"""Channels that share cells: 4 columns always, and 4 rows of a block."""

SWEEPS = 3
"""Over all spaces after the first one; each sees the orders of the others. More of them change next to nothing."""

ROUNDS = 3
"""Of exchanges in one space and sweep."""

FEATURES = 400
"""Places by which channels are compared, at most: evenly taken of those there are. They bound time and memory."""

LEAST_GAIN = 1e-6
"""Exchanges that gain less than this share of what is kept end the search."""


@dataclass(frozen=True)
class Features:
    """What each channel of a space adds to every block it may be in. scores: float32 [C, B]; a block of the final
    pattern is kept when its sum is above thresholds [B]. rows: how many of the B are places of rows, which come first.
    """

    scores: Array
    thresholds: Array
    rows: int

    def value(self, sums: Array) -> Array:
        """What is kept beyond the thresholds of groups with these sums [..., B]: float [...]."""
        return np.asarray(np.maximum(sums - self.thresholds, 0).sum(-1))


def permute_channels(
    graph: Graph, pattern: Pattern, sparsities: Mapping[str, float], scores: Mapping[str, Array] | None = None
) -> Graph:
    """`graph` with the order of channels in which `pattern` will keep most, or `graph` itself.

    sparsities: output tensor of each convolution that will be pruned -> its share of zeros. scores: output tensor ->
    how much each weight matters, at least 0, shaped as the weights; their squares if it is left out.
    """
    spaces = ChannelSpaces(graph)
    matters: dict[str, Array] = {}
    for node in graph.nodes:
        if node.op == "Conv" and node.outputs[0] in sparsities and node.attr_int("group", 1) == 1:
            weight = graph.constants[node.inputs[1]]
            found = np.square(weight) if scores is None else scores[node.outputs[0]]
            flat = found.reshape(*weight.shape[:2], -1).astype(np.float32)
            matters[node.outputs[0]] = flat / max(float(flat.sum()), 1e-30)  # all layers count alike
    if pattern.kind != "block" or max(pattern.rows, pattern.columns) == 1 or not matters:
        return graph
    kept = sum(kept_share(found, pattern, sparsities[name]) for name, found in matters.items())
    free = sorted(spaces.free(), key=lambda space: -spaces.sizes[space])
    orders: dict[int, Array] = {}
    for sweep in range(1 + SWEEPS):
        for space in free:
            features = features_of(spaces, space, matters, pattern, sparsities)
            if features is None:
                continue
            size = spaces.sizes[space]
            order = improved(features, np.arange(size)) if sweep else grouped(features)
            if sweep == SWEEPS:
                order = paired(features, order, pattern)
            for use in users(spaces, space, matters):
                name = use.node.outputs[0]
                matters[name] = np.take(matters[name], whole_order(spaces, use, space, order), use.axis)
            orders[space] = orders.get(space, np.arange(size))[order]
    found_kept = sum(kept_share(found, pattern, sparsities[name]) for name, found in matters.items())
    return renumber(spaces, orders) if found_kept > kept else graph


def kept_share(scores: Array, pattern: Pattern, sparsity: float) -> float:
    """The share of all `scores` [N, C, taps] in the blocks that stay."""
    sums = block_sums(scores, pattern)
    return float(np.sort(sums)[::-1][: round(sums.size * (1 - sparsity))].sum() / max(float(sums.sum()), 1e-30))


def users(spaces: ChannelSpaces, space: int, matters: Mapping[str, Array]) -> list[Use]:
    """The uses of `space` by rows or columns of the convolutions that will be pruned."""
    return [use for use in spaces.users(space) if use.role != "value" and use.node.outputs[0] in matters]


def whole_order(spaces: ChannelSpaces, use: Use, space: int, order: Array) -> Array:
    """`order` of one space as the order of all channels that `use` counts."""
    whole = np.arange(spaces.size(use.layout))
    for start in spaces.offsets(use.layout, space):
        whole[start : start + len(order)] = start + order
    return whole


def block_sums(scores: Array, pattern: Pattern) -> Array:
    """The sums of `scores` [N, C, taps] over the blocks of `pattern`, flat."""
    sums = joined(joined(scores, 0, pattern.rows), 1, pattern.columns)
    return np.asarray(sums.reshape(-1))


def joined(values: Array, axis: int, count: int) -> Array:
    """Sums of each `count` neighbours along `axis`, the last ones perhaps of fewer."""
    return np.asarray(np.add.reduceat(values, np.arange(0, values.shape[axis], count), axis))


def features_of(
    spaces: ChannelSpaces, space: int, matters: Mapping[str, Array], pattern: Pattern, sparsities: Mapping[str, float]
) -> Features | None:
    """What the channels of `space` add to the blocks of all layers around; None where no block depends on them."""
    scores: dict[str, list[Array]] = {"row": [], "column": []}
    limits: dict[str, list[Array]] = {"row": [], "column": []}
    for use in users(spaces, space, matters):
        whole = matters[use.node.outputs[0]]
        sums = np.sort(block_sums(whole, pattern))
        threshold = sums[min(round(sums.size * sparsities[use.node.outputs[0]]), sums.size - 1)]
        if use.role == "row":
            if pattern.rows > GROUP:
                continue
            threshold *= GROUP / pattern.rows
            found = joined(whole, 1, pattern.columns)
        else:
            if pattern.columns == 1:
                continue
            found = np.moveaxis(joined(whole, 0, pattern.rows), 1, 0)
        found = found.reshape(len(found), -1)
        for start in spaces.offsets(use.layout, space):
            part = found[start : start + spaces.sizes[space]]
            picked = np.unique(np.linspace(0, part.shape[1] - 1, min(part.shape[1], FEATURES)).astype(int))
            scores[use.role].append(part[:, picked])
            limits[use.role].append(np.full(len(picked), threshold))
    if not scores["row"] + scores["column"]:
        return None
    stacked = np.concatenate(scores["row"] + scores["column"], axis=1).astype(np.float32)
    thresholds = np.concatenate(limits["row"] + limits["column"]).astype(np.float32)
    picked = np.unique(np.linspace(0, len(thresholds) - 1, min(len(thresholds), FEATURES)).astype(int))
    rows = int((picked < sum(part.shape[1] for part in scores["row"])).sum())
    return Features(np.ascontiguousarray(stacked[:, picked]), thresholds[picked], rows)


def grouped(features: Features) -> Array:
    """An order in which each four channels were chosen one after the other: first the one that matters most of those
    left, then whatever keeps most together with it."""
    scores = features.scores
    left = np.ones(len(scores), bool)
    alone = np.maximum(scores - features.thresholds / GROUP, 0).sum(1)
    order: list[int] = []
    while left.any():
        first = int(np.where(left, alone, -1.0).argmax())
        left[first] = False
        order.append(first)
        total = scores[first].copy()
        for count in range(2, GROUP + 1):
            rest = np.flatnonzero(left)
            if not len(rest):
                break
            gains = np.maximum(total + scores[rest] - features.thresholds * (count / GROUP), 0).sum(1)
            best = int(rest[gains.argmax()])
            left[best] = False
            order.append(best)
            total += scores[best]
    return np.array(order)


def improved(features: Features, order: Array) -> Array:
    """`order` after exchanges between groups of four, the best first, each group once a round."""
    count = len(order) // GROUP * GROUP
    head, tail = order[:count].copy(), order[count:]
    group = np.arange(count) // GROUP
    for _ in range(ROUNDS if count > GROUP else 0):
        scores = features.scores[head]
        sums = scores.reshape(-1, GROUP, scores.shape[1]).sum(1)
        before = features.value(sums)
        swapped = np.stack([features.value(sums[group[i]] - scores[i] + scores) for i in range(count)])
        gains = np.triu(swapped + swapped.T - before[group][:, None] - before[group][None])
        gains[group[:, None] == group[None]] = 0
        worth = np.flatnonzero(gains > LEAST_GAIN * before.sum())
        if not len(worth):
            break
        taken = np.zeros(len(sums), bool)
        for place in worth[np.argsort(-gains.reshape(-1)[worth], kind="stable")]:
            i, j = divmod(int(place), count)
            if not taken[group[i]] and not taken[group[j]]:
                taken[group[i]] = taken[group[j]] = True
                head[i], head[j] = head[j], head[i]
    return np.concatenate([head, tail])


def paired(features: Features, order: Array, pattern: Pattern) -> Array:
    """`order` with the channels of each four so that neighbours, which share blocks or an index, are most alike."""
    if pattern.rows > 2 or not features.rows:
        return order
    order = order.copy()
    thresholds = features.thresholds[: features.rows] * (2 / GROUP)
    for start in range(0, len(order) - GROUP + 1, GROUP):
        four = order[start : start + GROUP]
        scores = features.scores[four, : features.rows]
        value = {(i, j): np.maximum(scores[i] + scores[j] - thresholds, 0).sum() for i, j in combinations(range(4), 2)}
        ways = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))
        a, b = max(ways, key=lambda way: value[way[0]] + value[way[1]])
        order[start : start + GROUP] = four[[*a, *b]]
    return order
