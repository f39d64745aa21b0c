"""Einsum of one or two operands becomes Transpose, MatMul and ReduceSum, for which there are kernels.
Equations with a label twice in one operand, or three operands, stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.infer import node_types
from edgert.graph.infer_matmul import parse_equation
from edgert.graph.ir import Attr, Dim, Graph, Node

Labels = list[str]


def write_out_einsum(graph: Graph) -> Graph:
    """Writes each Einsum that is a sum of products over common labels as a batched matrix product."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.op == "Einsum":
            nodes = _Product(rw, node).nodes_or_none()
            if nodes:
                rw.replace([node], nodes)
    return rw.finish()


class _Product:
    """The nodes that replace one Einsum, in order."""

    def __init__(self, rw: Rewriter, node: Node) -> None:
        self.rw, self.source, self.nodes = rw, node, list[Node]()
        self.stem = node.name or node.outputs[0]
        self.sizes: dict[str, Dim] = {}

    def nodes_or_none(self) -> list[Node] | None:
        kinds = [self.rw.type_of(name) for name in self.source.inputs]
        shapes = [kind.shape for kind in kinds if kind is not None and kind.dtype == "float32"]
        if len(shapes) != len(kinds) or len(kinds) > 2:
            return None
        operands, output = parse_equation(self.source.attr_str("equation", ""), [len(shape) for shape in shapes])
        for labels, shape in zip(operands, shapes, strict=True):
            for label, size in zip(labels, shape, strict=True):
                if len(set(labels)) != len(labels) or self.sizes.setdefault(label, size) != size:
                    return None  # a diagonal, or a size of 1 that is repeated
        terms = [self._summed(name, labels, output, operands) for name, labels in
                 zip(self.source.inputs, operands, strict=True)]  # fmt: skip
        if len(terms) == 1:
            tensor, labels = terms[0]
            self._ordered(tensor, labels, output)
        else:
            product = self._multiplied(*terms[0], *terms[1], output)
            if product is None:
                return None
            self._ordered(*product, output)
        if not self.nodes:
            self._node("Identity", [self.source.inputs[0]], {})
        self.nodes[-1].outputs = self.source.outputs
        return self.nodes

    def _node(self, op: str, inputs: Sequence[str], attrs: dict[str, Attr]) -> str:
        """Adds a node; returns its output."""
        output = self.rw.add_tensor(f"{self.source.outputs[0]}/{op.lower()}", None)
        made = Node(op, tuple(inputs), (output,), attrs, f"{self.stem}/{op}{len(self.nodes) or ''}")
        self.rw.graph.types.update(node_types(self.rw.graph, made, self.rw.graph.constants))
        self.nodes.append(made)
        return output

    def _ints(self, what: str, values: Sequence[int]) -> str:
        return self.rw.add_constant(f"{self.stem}_{what}", np.array(values, np.int64))

    def _summed(self, tensor: str, labels: Labels, output: Labels, operands: Sequence[Labels]) -> tuple[str, Labels]:
        """`tensor` summed over the labels that it alone has and nobody wants."""
        others = [label for other in operands if other is not labels for label in other]
        gone = [i for i, label in enumerate(labels) if label not in output and label not in others]
        if gone:
            tensor = self._node("ReduceSum", [tensor, self._ints("summed", gone)], {"keepdims": 0})
        return tensor, [label for i, label in enumerate(labels) if i not in gone]

    def _ordered(self, tensor: str, labels: Labels, wanted: Labels) -> str:
        """`tensor` with its axes in the order `wanted`, a permutation of `labels`."""
        if labels == wanted:
            return tensor
        return self._node("Transpose", [tensor], {"perm": [labels.index(label) for label in wanted]})

    def _multiplied(
        self, a: str, a_labels: Labels, b: str, b_labels: Labels, output: Labels
    ) -> tuple[str, Labels] | None:  # fmt: skip
        """The product, [batch, rows, columns] taken apart again, and its labels; None where sizes that have to be
        joined are not known."""
        shared = [label for label in a_labels if label in b_labels]
        batch = [label for label in output if label in shared]
        inner = [label for label in shared if label not in output]
        rows = [label for label in output if label in a_labels and label not in shared]
        columns = [label for label in output if label in b_labels and label not in shared]
        joined = [group for group in (rows, columns, inner) if len(group) != 1]
        if joined and any(isinstance(self.sizes[label], str) for label in (*batch, *rows, *columns, *inner)):
            return None
        left = self._matrix(self._ordered(a, a_labels, [*batch, *rows, *inner]), batch, rows, inner, bool(joined))
        right = self._matrix(
            self._ordered(b, b_labels, [*batch, *inner, *columns]), batch, inner, columns, bool(joined)
        )
        product, labels = self._node("MatMul", [left, right], {}), [*batch, *rows, *columns]
        if joined:
            apart = self._ints("apart", [int(self.sizes[label]) for label in labels])
            product = self._node("Reshape", [product, apart], {})
        return product, labels

    def _matrix(self, tensor: str, batch: Labels, rows: Labels, columns: Labels, joined: bool) -> str:
        """`tensor` as [*batch, rows, columns]."""
        if not joined:
            return tensor
        shape = [int(self.sizes[label]) for label in batch]
        shape += [
            int(np.prod([int(self.sizes[label]) for label in group], dtype=np.int64)) for group in (rows, columns)
        ]
        return self._node("Reshape", [tensor, self._ints("matrix", shape)], {"allowzero": 1})
