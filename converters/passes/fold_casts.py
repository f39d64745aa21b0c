"""Casts that follow each other become one where the type between them holds every value; CastLike becomes Cast.
Casts to the type a tensor has go in `eliminate.py`, and those of constants in `fold_constants.py`."""

from __future__ import annotations

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Graph, Node

FLOAT_BITS = {"float16": 11, "float32": 24, "float64": 53}
"""Bits of the whole numbers that a float type holds one by one."""


def fold_casts(graph: Graph) -> Graph:
    """Reads past a Cast that loses nothing: Cast(Cast(x, wider), t) is Cast(x, t), or x if it has the type t."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        target = rw.type_of(node.outputs[0]) if node.op in ("Cast", "CastLike") else None
        if target is None:
            continue
        if node.op == "CastLike":
            cast = Node("Cast", node.inputs[:1], node.outputs, {"to": target.dtype}, node.name)
            rw.replace([node], [cast])
            node = cast
        source = node.inputs[0]
        while (inner := rw.maker(source)) is not None and inner.op == "Cast":
            first, middle = rw.type_of(inner.inputs[0]), rw.type_of(source)
            if first is None or middle is None or not holds(middle.dtype, first.dtype):
                break
            source = inner.inputs[0]
        if source != node.inputs[0]:
            rw.set_inputs(node, (source,))
        found = rw.type_of(source)
        if found is not None and found.dtype == target.dtype and found.quant == target.quant:
            rw.bypass(node, source)
    return rw.finish()


def holds(wide: str, narrow: str) -> bool:
    """Whether type `wide` has every value of `narrow`."""
    if wide in FLOAT_BITS and np.dtype(narrow).kind in "iu":
        info = np.iinfo(narrow)
        return bool(max(abs(info.min), info.max) <= 2 ** FLOAT_BITS[wide])
    return bool(np.can_cast(narrow, wide, "safe"))
