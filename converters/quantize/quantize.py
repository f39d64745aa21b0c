"""A float graph and the ranges of its activations to an int8 graph.
Per-channel symmetric int8 weights, per-tensor uint8 activations, int32 bias: Nagel et al. 2021, section 2."""

from __future__ import annotations

from collections.abc import Mapping

from edgert.converters.calibrate.observers import Range
from edgert.converters.passes.absorb_qdq import absorb_qdq
from edgert.converters.passes.deduplicate import deduplicate
from edgert.converters.passes.eliminate import eliminate
from edgert.converters.passes.fold_constants import fold_dequantize
from edgert.converters.passes.pipeline import optimize
from edgert.converters.quantize.insert import insert_qdq
from edgert.graph.ir import Array, Graph

AFTER = (absorb_qdq, fold_dequantize, eliminate, deduplicate)


def quantize_graph(graph: Graph, ranges: Mapping[str, Range], grids: Mapping[str, Array] | None = None) -> Graph:
    """The quantized form of an optimized float graph. grids: see `insert_qdq`.

    The 8-bit form of activation `t` is called `t_quantized`. Operators without a quantized form, Softmax
    and the outputs of the graph stay float, with QuantizeLinear and DequantizeLinear at the borders.
    """
    return optimize(insert_qdq(graph, ranges, grids), passes=AFTER)
