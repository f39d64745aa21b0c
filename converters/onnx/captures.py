"""Which tensors a body of control flow reads from around it: names in ONNX bodies reach outwards.
What becomes of the bodies is in `subgraphs.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import GraphProto


def rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Gives the tensors that `graph` reads from around it, in place, the names that `names` has for them."""
    hidden = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
    hidden.update(name for node in graph.node for name in node.output)
    visible = {old: new for old, new in names.items() if old not in hidden}
    for node in graph.node:
        node.input[:] = [visible.get(name, name) for name in node.input]
        for body in bodies(node):
            rename(body, visible)
    for info in graph.output:
        info.name = visible.get(info.name, info.name)


def captured_names(graph: GraphProto) -> list[str]:
    """Names that `graph`, or a body in it, reads from around it, each once."""
    own = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    found: dict[str, None] = {}
    for node in graph.node:
        found.update(dict.fromkeys(name for name in node.input if name and name not in own))
        for body in bodies(node):
            found.update(dict.fromkeys(name for name in captured_names(body) if name not in own))
    found.update(dict.fromkeys(info.name for info in graph.output if info.name and info.name not in own))
    return list(found)


def bodies(node: Any) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
