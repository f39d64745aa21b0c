"""The passes in their order, `optimize` which runs them, and the record of what each one did.
The passes themselves are in the files beside this one; each is a function from graph to graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from edgert.converters.passes.absorb_qdq import absorb_qdq
from edgert.converters.passes.deduplicate import deduplicate
from edgert.converters.passes.eliminate import eliminate
from edgert.converters.passes.fold_affine import fold_affine
from edgert.converters.passes.fold_batch_norm import fold_batch_norm, lower_batch_norm
from edgert.converters.passes.fold_casts import fold_casts
from edgert.converters.passes.fold_constants import fold_constants, fold_dequantize
from edgert.converters.passes.fold_pads import fold_pads
from edgert.converters.passes.fold_shapes import fold_shapes
from edgert.converters.passes.fuse_activation import fuse_activation
from edgert.converters.passes.fuse_prelu import fuse_prelu
from edgert.converters.passes.fuse_residual import fuse_residual
from edgert.converters.passes.inline_branches import inline_branches
from edgert.converters.passes.lower_group_norm import lower_group_norm
from edgert.converters.passes.narrow_images import narrow_images
from edgert.converters.passes.normalize_gemm import normalize_gemm
from edgert.converters.passes.recognise_activations import recognise_activations
from edgert.converters.passes.recognise_dynamic_int8 import recognise_dynamic_int8
from edgert.converters.passes.recognise_layer_norm import recognise_layer_norm
from edgert.converters.passes.recognise_pooling import recognise_pooling
from edgert.converters.passes.recognise_weight_only import recognise_weight_only
from edgert.converters.passes.reparameterize import reparameterize
from edgert.converters.passes.shorten_names import shorten_names
from edgert.converters.passes.sink_transposes import sink_transposes
from edgert.converters.passes.split_conv_transpose import split_conv_transpose
from edgert.converters.passes.whole_windows import whole_windows
from edgert.converters.passes.write_out_einsum import write_out_einsum
from edgert.graph.ir import Graph

Pass: TypeAlias = Callable[[Graph], Graph]

OPTIMIZE: tuple[Pass, ...] = (
    # First what exporters leave behind, so that patterns are not hidden by it.
    recognise_weight_only,
    recognise_dynamic_int8,
    write_out_einsum,
    fold_constants,
    fold_shapes,
    fold_constants,
    inline_branches,
    fold_constants,
    fold_casts,
    eliminate,
    narrow_images,
    sink_transposes,
    eliminate,
    fold_pads,
    deduplicate,
    recognise_activations,
    recognise_layer_norm,
    lower_group_norm,
    recognise_pooling,
    normalize_gemm,
    # Branches are summed before lone batch norms are lowered and before anything is fused into a Conv.
    fold_batch_norm,
    reparameterize,
    fold_batch_norm,
    lower_batch_norm,
    fold_affine,
    fuse_activation,
    # After what is folded and fused into it, which all its parts then have.
    split_conv_transpose,
    fuse_residual,
    absorb_qdq,
    fold_dequantize,
    normalize_gemm,
    eliminate,
    deduplicate,
    shorten_names,
)
"""Every pass keeps the values a graph computes, up to rounding. Some run again: others make work for them."""


SETTLED: tuple[Pass, ...] = (whole_windows, fuse_prelu)
"""When weights and encodings of activations are decided."""
TIDY: tuple[Pass, ...] = (eliminate, deduplicate)
"""After a graph was rewritten by something that is no pass of these."""


@dataclass(frozen=True)
class PassRecord:
    """What one pass did: the number of nodes before and after it."""

    name: str
    before: int
    after: int


def optimize(graph: Graph, record: list[PassRecord] | None = None, passes: Sequence[Pass] = OPTIMIZE) -> Graph:
    """The graph after `passes`, which leave `graph` as it is; bodies of control flow go through them too. `record`
    collects an entry per pass that changed the number of nodes."""
    for step in passes:
        before = count_nodes(graph)
        graph = with_bodies(step, graph)
        after = count_nodes(graph)
        if record is not None and after != before:
            record.append(PassRecord(step.__name__, before, after))
    return graph


def with_bodies(step: Pass, graph: Graph) -> Graph:
    """`step` on a graph, then on every graph inside its nodes."""
    graph = step(graph)
    if any(node.graphs for node in graph.nodes):
        graph = graph.copy()
    for node in graph.nodes:
        node.graphs = {key: with_bodies(step, body) for key, body in node.graphs.items()}
    return graph


def count_nodes(graph: Graph) -> int:
    """Nodes of a graph and of all graphs inside it."""
    return len(graph.nodes) + sum(len(body.nodes) for body in graph.bodies())
