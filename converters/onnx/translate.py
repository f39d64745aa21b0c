"""One ONNX graph, or one body of control flow, written node by node in canonical form.
The lifts are in the `normalize_*` modules, files and reports in `importer.py`."""

from __future__ import annotations

from dataclasses import dataclass

from edgert.converters.onnx.builder import DEFAULT_ADVICE, Builder, Refused
from edgert.converters.onnx.expand import expand_functions
from edgert.converters.onnx.hints import Hint
from edgert.converters.onnx.normalize import lift_node, supported
from edgert.converters.onnx.reader import OnnxModel, OnnxNode
from edgert.graph.ir import Graph


@dataclass(frozen=True)
class Problem:
    """Why one node cannot be converted. `attribute` is '' when none is at fault."""

    node: str
    op: str
    domain: str
    opset: int
    attribute: str
    advice: str

    def __str__(self) -> str:
        operator = f"{self.domain}.{self.op}" if self.domain else self.op
        fault = f", attribute {self.attribute}" if self.attribute else ""
        return f"node {self.node!r}: {operator} (opset {self.opset}{fault}): {self.advice}"


def translate(
    model: OnnxModel, hints: dict[str, Hint], notes: list[str], scope: str = "", depth: int = 0
) -> tuple[Graph, list[Problem]]:
    """(the graph of `model`, every node that cannot be converted). scope: before the names of a body's tensors.
    depth: bodies that this one is in, 0 for the model itself."""
    expand_functions(model, hints, supported, notes)
    builder = Builder(model, hints, scope, depth)
    builder.notes = notes
    problems: list[Problem] = []
    for node in model.nodes:
        if not supported(node):
            problems.append(_problem(node, "", DEFAULT_ADVICE))
            continue
        try:
            lift_node(builder, node)
        except Refused as refusal:
            problems.append(_problem(node, refusal.attribute, refusal.advice))
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            # Not every domain has schemas, and a schema says little about values: a file may hold anything.
            why = f"expected inputs and attributes as the operator defines them ({type(error).__name__}: {error})"
            problems.append(_problem(node, "", why))
    return builder.finish(), problems


def _problem(node: OnnxNode, attribute: str, advice: str) -> Problem:
    return Problem(node.name, node.op, node.domain, node.opset, attribute, advice)
