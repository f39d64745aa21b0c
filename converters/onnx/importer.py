"""ONNX file to graph: `import_onnx`, and `check_onnx`, which finds every reason why that would fail.
Reading is in `reader.py`, the canonical form of each operator in the `normalize_*` modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgert.converters.forms import complete_types, refused_forms
from edgert.converters.onnx import (  # noqa: F401  (each import registers lifts)
    normalize_attention,
    normalize_microsoft,
    normalize_microsoft_dynamic,
    normalize_ml,
    normalize_nn,
    normalize_old,
    normalize_quant,
    normalize_recurrent,
    normalize_sampling,
    normalize_shape,
    normalize_signal,
    normalize_skip_norm,
    sequences,
    subgraphs,
)
from edgert.converters.onnx.hints import infer_hints
from edgert.converters.onnx.reader import OnnxModel, read_onnx
from edgert.converters.onnx.translate import Problem, translate
from edgert.errors import UnsupportedError
from edgert.graph.ir import Graph

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto


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
        counts = dict(Counter(_named(node.domain, node.op) for node in model.nodes) + _inside(model))
        report.update(format="onnx", file=path.name, opsets=dict(model.opsets), operators=counts, notes=notes)
    graph, problems = translate(model, hints, notes)
    complete_types(graph)
    return graph, problems


def _named(domain: str, op: str) -> str:
    return f"{domain}.{op}" if domain not in ("", "ai.onnx") else op


def _inside(model: OnnxModel) -> Counter[str]:
    """Operators by name in the bodies of control flow; constants are no operators."""
    bodies = [body for node in model.nodes for body in node.graphs.values()]
    found = (node for body in bodies for node in _nodes_of(body) if node.op_type != "Constant")
    return Counter(_named(node.domain, node.op_type) for node in found)


def _nodes_of(body: GraphProto) -> Iterator[NodeProto]:
    for node in body.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes_of(attribute.g)
