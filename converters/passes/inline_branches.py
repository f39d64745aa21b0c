"""An If whose condition is constant becomes the nodes of the branch that is taken: exporters leave such choices behind.
Loops and conditions that a run decides stay what they are."""

from __future__ import annotations

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Graph, Node


def inline_branches(graph: Graph) -> Graph:
    """Splices the taken branch in the place of its If, again and again where branches hold such nodes themselves."""
    rw = Rewriter(graph)
    pending = [node for node in rw.graph.nodes if node.op == "If"]
    while pending:
        node = pending.pop()
        condition = rw.constant(node.inputs[0])
        branch = None
        if condition is not None and condition.size == 1:
            branch = node.graphs.get("then_branch" if condition.reshape(()) else "else_branch")
        if branch is not None and len(branch.inputs) == len(node.inputs) - 1:
            pending += [inner for inner in splice(rw, node, branch) if inner.op == "If"]
    return rw.finish()


def splice(rw: Rewriter, node: Node, branch: Graph) -> list[Node]:
    """Puts the nodes of `branch`, whose inputs are those of `node` but the first, in the place of `node`."""
    names = dict(zip(branch.inputs, node.inputs[1:], strict=True))
    wanted = dict(zip(branch.outputs, node.outputs, strict=False))
    made = {name for inner in branch.nodes for name in inner.outputs if name}
    names.update((name, out) for name, out in wanted.items() if out and name in made)
    for name, value in branch.constants.items():
        names[name] = rw.add_constant(name, value, branch.types[name].quant)
    new = []
    for inner in branch.nodes:
        copy = inner.copy()
        copy.inputs = tuple(names.get(name, name) for name in inner.inputs)
        copy.outputs = tuple(names.get(name, name) for name in inner.outputs)
        new.append(copy)
    for name, kind in branch.types.items():
        if names.get(name, name) not in rw.graph.types:
            rw.graph.types[names.get(name, name)] = kind
    # an output that no node of the branch makes is a copy of what the branch was given
    new += [
        Node("Identity", (names.get(name, name),), (out,), {}, f"{node.name}/{out}")
        for name, out in wanted.items()
        if out and name not in made
    ]
    rw.replace([node], new)
    return new
