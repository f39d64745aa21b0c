"""Constants that several bodies of control flow hold are kept once: decoders with and without a past have one set of
weights. Equal constants of one graph are the business of `deduplicate.py`."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import numpy as np

from edgert.converters.passes.deduplicate import quant_key
from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Graph

FORMS = ("group", "transA", "transB", "axis")
"""Attributes that how a constant is stored may depend on."""


def share_between_bodies(graph: Graph) -> Graph:
    """`graph` with one name for each constant that is equal in it and in its bodies, and is read in the same way:
    how it is stored depends on that. What a file stores has one name for all graphs."""
    if not any(node.graphs for node in graph.nodes):
        return graph
    return _shared(graph, {})


def _shared(graph: Graph, first: dict[Hashable, str]) -> Graph:
    rw = Rewriter(graph)
    for name, value in list(rw.graph.constants.items()):
        kind = rw.type_of(name)
        readers = frozenset(
            (node.op, node.inputs.index(name), *(node.attr_int(key, 0) for key in FORMS)) for node in rw.readers(name)
        )
        digest = hashlib.blake2b(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data).digest()
        key = value.dtype.str, value.shape, digest, quant_key(kind.quant if kind else None), readers
        known = first.setdefault(key, name)
        taken = known in rw.graph.types or known in rw.graph.constants
        if known != name and not taken and name not in rw.graph.outputs and kind is not None:
            rw.graph.constants[known], rw.graph.types[known] = value, kind
            rw.redirect(name, known)
    for node in rw.graph.nodes:
        node.graphs = {key: _shared(body, first) for key, body in node.graphs.items()}
    return rw.finish()
