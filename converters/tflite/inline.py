"""Composite operators written out: STABLEHLO_COMPOSITE becomes the operators of the sub-graph that defines it.
Sub-graphs of control flow stay what they are: see `lift_control.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgert.converters.tflite.model import TfliteGraph, TfliteModel, TfliteOperator
from edgert.errors import FormatError

COMPOSITE = "STABLEHLO_COMPOSITE"

MAX_OPERATORS = 1 << 17
"""Written out, of all graphs together. Composites of composites multiply; models have some thousand operators."""

MAX_TENSORS = 4 * MAX_OPERATORS
"""Likewise; operators have two to four tensors each."""

MAX_DEPTH = 16
"""Of composites within composites."""


def inline_composites(model: TfliteModel) -> TfliteModel:
    """`model` without composite operators. Raises FormatError where one has no definition, or has itself inside."""
    if all(op.op != COMPOSITE for graph in model.graphs for op in graph.operators):
        return model
    written = _Written()
    return replace(model, graphs=[_Inliner(model, graph, written).graph() for graph in model.graphs])


@dataclass
class _Written:
    """What was written out so far, over all graphs: each may use the same large definition."""

    operators: int = 0
    tensors: int = 0


class _Inliner:
    """Writes out one graph: `tensors` grows by those of the definitions, `operators` is made anew."""

    def __init__(self, model: TfliteModel, source: TfliteGraph, written: _Written) -> None:
        self.model, self.source, self.written = model, source, written
        self.tensors = list(source.tensors)
        self.operators: list[TfliteOperator] = []

    def graph(self) -> TfliteGraph:
        self._write(self.source, {index: index for index in range(len(self.tensors))}, 0)
        return replace(self.source, tensors=self.tensors, operators=self.operators)

    def _write(self, body: TfliteGraph, places: dict[int, int], depth: int) -> None:
        """Appends the operators of `body`, whose tensors are at `places` in the graph written out."""
        for op in body.operators:
            inputs = tuple(places.get(index, index) for index in op.inputs)
            outputs = tuple(places.get(index, index) for index in op.outputs)
            if depth or op.op == COMPOSITE:  # the file's own have their limit where it is read
                self.written.operators += 1
            if self.written.operators > MAX_OPERATORS or self.written.tensors > MAX_TENSORS:
                raise self._error(f"at most {MAX_OPERATORS} operators, composites written out", "more")
            if op.op == COMPOSITE:
                self._expand(op, inputs, outputs, depth)
                continue
            self.operators.append(replace(op, index=len(self.operators), inputs=inputs, outputs=outputs))

    def _expand(self, op: TfliteOperator, inputs: tuple[int, ...], outputs: tuple[int, ...], depth: int) -> None:
        """Writes the definition of composite `op` in its place."""
        name, number = op.options.get("name"), int(op.options.get("decomposition_subgraph_index", -1))
        if not 0 < number < len(self.model.graphs) or depth >= MAX_DEPTH:
            raise self._error(f"a definition of the composite {name!r}, at most {MAX_DEPTH} deep", f"graph {number}")
        body = self.model.graphs[number]
        if len(body.inputs) != len(inputs) or len(body.outputs) != len(outputs):
            found = f"{len(body.inputs)} and {len(body.outputs)}"
            raise self._error(f"{len(inputs)} inputs and {len(outputs)} outputs of graph {number}", found)
        places = dict(zip(body.inputs, inputs, strict=True))
        if len(set(body.outputs)) != len(body.outputs) or set(body.outputs) & set(places):
            raise self._error(f"outputs of graph {number} that it makes, each once", str(body.outputs))
        places |= dict(zip(body.outputs, outputs, strict=True))
        for tensor in body.tensors:
            if tensor.index not in places:
                self.written.tensors += 1
                places[tensor.index] = len(self.tensors)
                self.tensors.append(replace(tensor, index=len(self.tensors)))
        self._write(body, places, depth + 1)

    def _error(self, expected: str, found: str) -> FormatError:
        return FormatError(self.model.path, None, expected, found)
