"""A whole network pruned: choose layers, order channels, share out zeros, then layer after layer as data flows.
One layer is `prune_layer.py`; rounding to int8 comes afterwards, on the grids that are handed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgert.converters.calibrate.collect import Feeds, Progress
from edgert.converters.network_prune.layers import Chosen, choose_layers, to_matrix, to_weight
from edgert.converters.network_prune.options import NetworkPruning
from edgert.converters.network_prune.prune_layer import matched, moments, pruned_matrix, restored, row_scale
from edgert.converters.network_prune.windows import Seen, walk
from edgert.converters.passes.channel_spaces import ChannelSpaces
from edgert.converters.passes.permute_channels import permute_channels
from edgert.converters.passes.remove_dead_channels import dead_channels, without
from edgert.converters.passes.rewrite import prune
from edgert.converters.prune.allocation import Sensitivity, allocate, sensitivity
from edgert.converters.prune.scores import wanda
from edgert.graph.infer import infer_types
from edgert.graph.ir import Array, Graph, Node


@dataclass
class PrunedNetwork:
    """graph: the pruned network, in float. original: the network before, channels in the same order, so that tensors
    of one name may be compared. grids: output tensor -> float32 [N], the int8 scales on whose grid its weights are.
    errors: output tensor -> relative squared error of the layer's outputs, where inputs were seen."""

    original: Graph
    graph: Graph
    chosen: Chosen
    grids: dict[str, Array] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)


def prune_network(
    graph: Graph,
    pruning: NetworkPruning,
    samples: Sequence[Feeds] | None = None,
    *,
    int8: bool = False,
    restore: bool = True,
    progress: Progress | None = None,
) -> PrunedNetwork:
    """`graph`, an optimized float network with types, pruned.

    samples: a few inputs to calibrate on; only magnitude does without. int8: the weights will be rounded, which
    SparseGPT does as it goes. restore: outputs of pruned layers are scaled and shifted to their former mean and
    size, if there are samples. Raises ConversionError.
    """
    chosen = choose_layers(graph, pruning)
    if pruning.permute:
        graph = permute_channels(graph, pruning.pattern, chosen.sparsities, importance(graph, pruning, chosen, samples))
    sparsities = dict(chosen.sparsities)
    if pruning.allocation == "sensitivity" and samples and len(chosen.sharing) > 1:
        sparsities |= shared(graph, pruning, chosen, samples, progress)
    chosen = Chosen(sparsities, chosen.sharing, chosen.left)
    result = PrunedNetwork(graph, graph.copy(), chosen)
    if samples is None:
        for node in result.graph.nodes:
            if node.outputs[0] in sparsities:
                matrix = to_matrix(graph.constants[node.inputs[1]])
                replace_weights(result.graph, node, pruned_matrix(matrix, pruning, sparsities[node.outputs[0]], None))
    else:
        for seen in walk(graph, result.graph, sparsities, samples, progress):
            prune_seen(result, seen, pruning, int8, restore)
    prune(result.graph)
    finish(result)
    return result


def prune_seen(result: PrunedNetwork, seen: Seen, pruning: NetworkPruning, int8: bool, restore: bool) -> None:
    """Replaces the weights of one layer by pruned ones, and its bias, in place."""
    node, name = seen.node, seen.node.outputs[0]
    dense = to_matrix(result.original.constants[node.inputs[1]])
    scale = row_scale(dense) if int8 and pruning.criterion == "sparsegpt" else None
    start = matched(dense, seen.dense, seen.pruned) if pruning.criterion == "sparsegpt" else dense
    matrix = pruned_matrix(start, pruning, result.chosen.sparsities[name], seen.pruned, scale)
    outputs = restored(seen.dense @ dense.T, seen.pruned @ matrix.T)
    result.errors[name] = outputs.error
    if restore:
        matrix = matrix * outputs.gain[:, None]
        scale = scale * outputs.gain if scale is not None else None
        add_bias(result.graph, node, outputs.gain, outputs.shift)
    if scale is not None:
        result.grids[name] = scale
    replace_weights(result.graph, node, matrix)


def replace_weights(graph: Graph, node: Node, matrix: Array) -> None:
    """Gives `node` weights of its own, in place."""
    shape = graph.constants[node.inputs[1]].shape
    renewed = graph.add_constant(f"{node.inputs[1]}_pruned", to_weight(matrix, shape))
    node.inputs = (node.inputs[0], renewed, *node.inputs[2:])


def add_bias(graph: Graph, node: Node, gain: Array, shift: Array) -> None:
    """The bias of `node` for products that are scaled by `gain` and shifted: its own stays, plus `shift`. In place."""
    residual = node.inputs[-1:] if node.attr_int("residual", 0) else ()
    own = node.inputs[2] if len(node.inputs) > 2 + len(residual) else ""
    bias = graph.constants[own] + shift if own else shift
    name = graph.add_constant(own or f"{node.outputs[0]}_bias", bias.astype(np.float32))
    node.inputs = (*node.inputs[:2], name, *residual)


def finish(result: PrunedNetwork) -> None:
    """Removes channels that pruning left dead, with their places in the grids, in place."""
    graph = infer_types(result.graph)
    while gone := dead_channels(spaces := ChannelSpaces(graph)):
        for use in spaces.uses:
            name = use.node.outputs[0]
            for space in set(spaces.roots(use.layout)) & set(gone):
                if use.role == "row" and name in result.grids:
                    result.grids[name] = np.delete(result.grids[name], gone[space])
        graph = infer_types(without(spaces, gone))
    result.graph = graph


def importance(
    graph: Graph, pruning: NetworkPruning, chosen: Chosen, samples: Sequence[Feeds] | None
) -> Mapping[str, Array] | None:
    """Output tensor -> how much each weight matters, shaped as the weights; None for their squares."""
    if pruning.criterion == "magnitude" or samples is None:
        return None
    scores = {}
    for seen in walk(graph, graph.copy(), chosen.sparsities, samples):
        weight = graph.constants[seen.node.inputs[1]]
        size = np.square(seen.dense).mean(0)
        scores[seen.node.outputs[0]] = to_weight(wanda(to_matrix(weight), np.diag(size)), weight.shape)
    return scores


def shared(
    graph: Graph, pruning: NetworkPruning, chosen: Chosen, samples: Sequence[Feeds], progress: Progress | None
) -> dict[str, float]:
    """The common budget of zeros divided by what they do to the outputs of each layer.

    That is measured on samples that the weights were not fitted to: wide layers of few pixels fit any few samples.
    """
    found: dict[str, Sensitivity] = {}
    for seen in walk(graph, graph.copy(), chosen.sharing, samples, progress):
        weights = to_matrix(graph.constants[seen.node.inputs[1]])
        half = len(seen.dense) // 2 if len(samples) > 1 else 0

        def pruned(part: Array, sparsity: float, fitted: Array = seen.dense[half:]) -> Array:
            return pruned_matrix(part, pruning, sparsity, fitted)

        held = moments(seen.dense[: half or None])
        found[seen.node.outputs[0]] = sensitivity(weights, held, pruning.sparsity, pruned)
    return allocate(found, pruning.sparsity)
