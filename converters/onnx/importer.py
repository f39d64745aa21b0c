"""ONNX file to graph: `import_onnx`, and `check_onnx`, which finds every reason why that would fail.
Reading is in `reader.py`, the canonical form of each operator in the `normalize_*` modules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgert.converters.forms import complete_types, refused_forms
from edgert.converters.onnx import (  # noqa: F401  (each import registers lifts)
    normalize_microsoft,
    normalize_nn,
    normalize_old,
    normalize_quant,
    normalize_sampling,
    normalize_shape,
    normalize_signal,
)
from edgert.converters.onnx.builder import DEFAULT_ADVICE, Builder, Refused
from edgert.converters.onnx.expand import expand_functions
from edgert.converters.onnx.hints import infer_hints
from edgert.converters.onnx.normalize import lift_node, supported
from edgert.converters.onnx.reader import OnnxNode, read_onnx
from edgert.errors import UnsupportedError
from edgert.graph.ir import Graph

ADVICE: dict[str, str] = {
    "If": "export with the condition fixed, or fold it with onnxsim",
    "Loop": "export the loop unrolled",
    "Scan": "export the loop unrolled",
    "LSTM": "recurrent layers are not supported; export the steps unrolled",
    "GRU": "recurrent layers are not supported; export the steps unrolled",
    "RNN": "recurrent layers are not supported; export the steps unrolled",
    "DynamicQuantizeMatMul": "quantize the model statically, or without fusion",
}


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


def import_onnx(path: str | Path, *, report: dict[str, Any] | None = None) -> Graph:
    """The canonical graph of the ONNX model in `path`.

    Every type that does not depend on unbound dimensions is known; a quantized tensor whose rank does has the
    shape () until `edgert.graph.infer` binds them. `report`, when given, receives `format`, `file`, `opsets`,
    `operators` (count by name, as in the file) and `notes` (what was not translated one to one).

    Raises FormatError for a malformed file, UnsupportedError listing every node edgert cannot take.
    """
    graph, problems = _import(Path(path), report)
    if problems:
        listed = "\n  ".join(map(str, problems))
        raise UnsupportedError(f"{path}: {len(problems)} nodes cannot be converted:\n  {listed}")
    return graph


def check_onnx(path: str | Path) -> list[Problem]:
    """Every node of `path` that cannot be converted; empty when all can. First those with an operator or
    attribute edgert lacks, then those whose inputs do not fit (`forms.py`), each in graph order.

    Raises FormatError for a malformed file, UnsupportedError for a model of another version.
    """
    report: dict[str, Any] = {}
    graph, problems = _import(Path(path), report)
    opset = int(report["opsets"].get("", 0))
    for node, reason in refused_forms(graph):
        problems.append(Problem(node.name, node.op, "", opset, "", reason))
    return problems


def _import(path: Path, report: dict[str, Any] | None) -> tuple[Graph, list[Problem]]:
    model = read_onnx(path)
    hints = infer_hints(model)
    notes: list[str] = []
    if report is not None:
        counts: dict[str, int] = {}
        for node in model.nodes:
            key = f"{node.domain}.{node.op}" if node.domain else node.op
            counts[key] = counts.get(key, 0) + 1
        report.update(format="onnx", file=path.name, opsets=dict(model.opsets), operators=counts, notes=notes)
    expand_functions(model, hints, supported, notes)
    builder = Builder(model, hints)
    builder.notes = notes
    problems: list[Problem] = []
    for node in model.nodes:
        if not supported(node):
            problems.append(_problem(node, "", ADVICE.get(node.op, DEFAULT_ADVICE)))
            continue
        try:
            lift_node(builder, node)
        except Refused as refusal:
            problems.append(_problem(node, refusal.attribute, refusal.advice))
    graph = builder.finish()
    complete_types(graph)
    return graph, problems


def _problem(node: OnnxNode, attribute: str, advice: str) -> Problem:
    return Problem(node.name, node.op, node.domain, node.opset, attribute, advice)
