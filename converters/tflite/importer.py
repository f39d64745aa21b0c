"""TensorFlow Lite file to graph: `import_tflite`, and `check_tflite`, which finds every reason why that would fail.
Reading is in `reader.py`, how each operator is written in the `lift_*` modules."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgert.converters.forms import complete_types, refused_forms
from edgert.converters.tflite.builder import Builder, Problem, Refused
from edgert.converters.tflite.families import LIFTS
from edgert.converters.tflite.inline import inline_composites
from edgert.converters.tflite.lift_state import give_states, take_variables
from edgert.converters.tflite.lifts import lift_graph
from edgert.converters.tflite.model import TfliteModel
from edgert.converters.tflite.reader import read_tflite
from edgert.errors import UnsupportedError
from edgert.graph.ir import Graph

__all__ = ["LIFTS", "Problem", "check_tflite", "graph_of", "import_tflite"]


def import_tflite(path: str | Path, *, report: dict[str, Any] | None = None) -> Graph:
    """The canonical graph of the TensorFlow Lite model in `path`.

    Inputs and outputs have the names of the model's signature if it has one, else those of their tensors, and keep
    their types. Every type that does not depend on unbound dimensions is known. `report`, when given, receives
    `format`, `file`, `operators` (count by name, as in the file) and `notes` (what was not translated one to one).

    Raises FormatError for a malformed file, UnsupportedError listing every operator edgert cannot take.
    """
    return graph_of(read_tflite(path), report=report)


def graph_of(model: TfliteModel, *, report: dict[str, Any] | None = None) -> Graph:
    """The canonical graph of `model`, as `import_tflite`."""
    graph, problems = _import(model, report)
    if problems:
        listed = "\n  ".join(map(str, problems))
        raise UnsupportedError(f"{model.path}: {len(problems)} nodes cannot be converted:\n  {listed}")
    return graph


def check_tflite(path: str | Path) -> list[Problem]:
    """Every operator of `path` that cannot be converted; empty when all can. First those that edgert lacks or whose
    options it cannot take, then those whose inputs do not fit, each in graph order.

    Raises FormatError for a malformed file.
    """
    graph, problems = _import(read_tflite(path), None)
    for node, reason in refused_forms(graph):
        problems.append(Problem(node.name, node.op, 0, "", reason))
    return problems


def tensor_indices(model: TfliteModel) -> dict[str, int]:
    """Name in the graph of `graph_of` -> index among the tensors of the file's first graph, for those it kept."""
    count = len(model.graphs[0].tensors)  # beyond are tensors of composites
    return {name: index for name, index in _build(model, None).indices().items() if index < count}


def _import(model: TfliteModel, report: dict[str, Any] | None) -> tuple[Graph, list[Problem]]:
    builder = _build(model, report)
    return builder.graph, builder.problems


def _build(model: TfliteModel, report: dict[str, Any] | None) -> Builder:
    counts = Counter(op.op for source in model.graphs for op in source.operators)
    model = inline_composites(model)
    builder = Builder(model, model.graphs[0])
    if report is not None:
        report.update(format="tflite", file=model.path.name, operators=dict(counts), notes=builder.notes)
    inputs, outputs = signature_names(model)
    try:
        builder.take_inputs(inputs)
        builder.reserve_outputs(outputs)
    except Refused as refusal:
        builder.problems.append(Problem("inputs and outputs", "", 0, refusal.what, refusal.advice))
        return builder
    try:
        take_variables(builder)
    except Refused as refusal:
        builder.problems.append(Problem("variable tensors", "", 0, refusal.what, refusal.advice))
        return builder
    lift_graph(builder)
    if not builder.problems:
        builder.give_outputs()
        give_states(builder)
    complete_types(builder.graph)
    return builder


def signature_names(model: TfliteModel) -> tuple[dict[int, str], dict[int, str]]:
    """Tensor index -> name that people see, of inputs and of outputs: those of the signature of graph 0.

    A name that is both an input and an output stays with the input.
    """
    found = next((s for s in model.signatures if s.graph == 0), None)
    if found is None:
        return {}, {}
    inputs = {index: name for name, index in found.inputs.items()}
    outputs = {index: name for name, index in found.outputs.items()}
    return inputs, outputs
