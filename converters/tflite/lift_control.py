"""IF and WHILE: sub-graphs become bodies of If and Loop, which see their own inputs and constants alone.
Source: TensorFlow Lite, kernels/if.cc and while.cc; ONNX If-25 and Loop-25."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.converters.forms import complete_types
from edgert.converters.tflite.builder import Builder, Refused
from edgert.converters.tflite.lifts import lift, lift_graph
from edgert.converters.tflite.model import TfliteOperator
from edgert.graph.ir import Graph, TensorType


@lift("IF")
def lift_if(builder: Builder, op: TfliteOperator) -> None:
    """Inputs: condition bool of one value, then the inputs of both sub-graphs."""
    bodies = {}
    for key, option in (("then_branch", "then_subgraph_index"), ("else_branch", "else_subgraph_index")):
        inner = builder.nested(op, int(op.options[option]), key)
        inner.graph.inputs = take(inner)
        run_through(inner)
        inner.graph.outputs = give(inner)
        complete_types(inner.graph)
        bodies[key] = inner.graph
    arguments = op.inputs[1:]
    check_count("inputs", len(arguments), *(len(body.inputs) for body in bodies.values()))
    check_count("outputs", len(op.outputs), *(len(body.outputs) for body in bodies.values()))
    values = [builder.data(index) for index in arguments]
    outs = [builder.declare(index) for index in op.outputs]
    node = builder.append("If", [builder.use(op.inputs[0]), *values], outs, {"captured": len(values)}, op)
    node.graphs = bodies


@lift("WHILE")
def lift_while(builder: Builder, op: TfliteOperator) -> None:
    """Inputs and outputs: the carried tensors. The condition is computed before the first turn and in each one, by a
    copy of its sub-graph."""
    test, turn = int(op.options["cond_subgraph_index"]), int(op.options["body_subgraph_index"])
    carried = [builder.data(index) for index in op.inputs]
    first = builder.nested(op, test, "first")
    going = condition(first, builder.graph, carried)
    inner = builder.nested(op, turn, "body")
    names = take(inner)
    count, was_going = inner.fresh("iteration"), inner.fresh("going")
    inner.graph.types[count], inner.graph.types[was_going] = TensorType("int64", ()), TensorType("bool", ())
    inner.graph.inputs = [count, was_going, *names]
    run_through(inner)
    outputs = give(inner)
    check_count("carried tensors", len(op.outputs), len(carried), len(names), len(outputs))
    again = inner.nested(op, test, "condition")
    inner.graph.outputs = [condition(again, inner.graph, outputs), *outputs]
    complete_types(inner.graph)
    outs = [builder.declare(index) for index in op.outputs]
    node = builder.append("Loop", ["", going, *carried], outs, {"captured": 0}, op)
    node.graphs = {"body": inner.graph}


def condition(inner: Builder, graph: Graph, values: Sequence[str]) -> str:
    """Writes the condition's sub-graph into `graph`, on the tensors `values`. Returns the tensor that says whether the
    loop goes on: a bool []."""
    check_count("inputs of the condition", len(values), len(inner.source.inputs))
    check_count("outputs of the condition", 1, len(inner.source.outputs))
    inner.graph = graph
    for index, name in zip(inner.source.inputs, values, strict=True):
        inner.rename(index, name)
    run_through(inner)
    verdict = inner.use(inner.source.outputs[0])
    return inner.step("Reshape", [verdict, inner.ints("scalar", [])])


def take(inner: Builder) -> list[str]:
    """Declares the inputs of a sub-graph, as its operators read them: int8 activations are uint8 on both sides."""
    names: dict[str, None] = {}
    for index in inner.source.inputs:
        name = inner.named(index)
        if name in names:
            raise Refused("inputs", f"expected every input of a sub-graph once, found {name!r} twice")
        kind = inner.type(index)
        # Sizes may change from turn to turn: each free one has a name of its own.
        shape = tuple(f"{name}_{axis}" if isinstance(d, str) else d for axis, d in enumerate(kind.shape))
        inner.graph.types[name] = kind.with_shape(shape)
        names[name] = None
    return list(names)


def run_through(inner: Builder) -> None:
    """Lifts the operators of a sub-graph; variables stay outside."""
    lift_graph(inner)
    if inner.variables.table or any(tensor.variable for tensor in inner.source.tensors):
        raise Refused("variable", "expected variables outside of control flow only; carry their values instead")


def give(inner: Builder) -> list[str]:
    """The outputs of a sub-graph; one that is an input, a constant or given twice gets an Identity."""
    names: list[str] = []
    taken = set(inner.graph.inputs)
    for index in inner.source.outputs:
        name = inner.data(index)
        if name in taken or name in inner.graph.constants:
            kind = inner.graph.types[name]
            name = inner.step("Identity", [name])
            inner.graph.types[name] = kind
        taken.add(name)
        names.append(name)
    return names


def check_count(what: str, *counts: int) -> None:
    if len(set(counts)) > 1:
        raise Refused(what, f"expected as many {what} on all sides, found {', '.join(map(str, counts))}")
