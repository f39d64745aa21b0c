"""Parallel linear branches of one tensor, summed, become a single convolution with the same outputs.
RepVGG (Ding et al. 2021), RepMixer (FastViT, Vasu et al. 2023, section 3.2.1) and ACNet blocks are such."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgert.converters.passes.conv_form import ConvForm, form_of_conv, identity_form
from edgert.converters.passes.fold_affine import affine_of_arithmetic
from edgert.converters.passes.fold_batch_norm import affine_of_batch_norm
from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Attr, Graph, Node

MAX_TENSORS = 64
"""Looked at for one sum: blocks have a dozen. Long chains of sums would be walked again from each of them."""


def reparameterize(graph: Graph) -> Graph:
    """Replaces every sum of linear branches that one convolution can express at no greater cost.

    A branch is any composition of convolutions of the source with per-channel affine steps (batch norms,
    layer scales, constant biases), sums, differences, and the source itself. The result is exact but for
    rounding. Largest sums are tried first, so `x + g * (mixer(x) - norm(x))` collapses as a whole.
    """
    rw = Rewriter(graph)
    for root in reversed(list(rw.graph.nodes)):
        if root.op not in ("Add", "Sub") or rw.maker(root.outputs[0]) is not root:
            continue
        for source in dict.fromkeys(sources(rw, root)):
            tree = Branches(rw, source)
            form = tree.sum(root)
            if form is not None and tree.convolutions and form.weight.size <= tree.weights:
                merge(rw, root, source, form, tree.nodes)
                break
    return rw.finish()


def sources(rw: Rewriter, root: Node) -> Iterator[str]:
    """The inputs of the convolutions that `root` sums: the tensors its branches may start from."""
    pending = [name for name in root.inputs if name]
    for _ in range(MAX_TENSORS):
        if not pending:
            return
        name = pending.pop()
        node = rw.maker(name)
        if node is None or rw.sole_reader(name) is None:  # as in Branches: what others read has to stay
            continue
        if node.op == "Conv":
            yield node.inputs[0]
        elif node.op in ("Add", "Sub", "Mul", "Div", "BatchNormalization"):
            pending += [name for name in node.inputs if name]


class Branches:
    """Expresses tensors as convolutions of `source`, noting the nodes and weights that would go."""

    def __init__(self, rw: Rewriter, source: str) -> None:
        self.rw, self.source = rw, source
        self.nodes: list[Node] = []
        self.weights = 0
        self.convolutions = 0
        self._seen = 0

    def sum(self, node: Node) -> ConvForm | None:
        """The form of an Add or Sub of two tensors that both depend on the source."""
        if node.attr_str("activation", ""):
            return None
        self.nodes.append(node)
        left, right = node.inputs
        a = self.tensor(left)
        b = self.tensor(right) if a is not None else None
        if a is None or b is None:
            return None
        if node.op == "Sub":
            b = b.scaled(-np.ones(len(b.bias)), np.zeros(len(b.bias)))
        return a.plus(b)

    def tensor(self, name: str) -> ConvForm | None:
        """The form of `name`, which nothing outside the sum may read, unless it is the source."""
        rw = self.rw
        self._seen += 1
        if name == self.source:
            return self.identity()
        node = rw.maker(name)
        if node is None or rw.sole_reader(name) is None or self._seen > MAX_TENSORS:
            return None
        if node.op == "Conv":
            return self.convolution(node)
        if node.op == "BatchNormalization":
            affine = affine_of_batch_norm(rw, node)
            inner = self.tensor(node.inputs[0]) if affine is not None else None
            self.nodes.append(node)
            return inner.scaled(*affine) if inner is not None and affine is not None else None
        if node.op not in ("Add", "Sub", "Mul", "Div"):
            return None
        kind = rw.type_of(name)
        count = kind.shape[1] if kind is not None and len(kind.shape) > 1 else None
        step = affine_of_arithmetic(rw, node, count) if isinstance(count, int) else None
        if step is not None:
            inner = self.tensor(step[0])
            self.nodes.append(node)
            return inner.scaled(*step[1:]) if inner is not None and len(inner.bias) == count else None
        return self.sum(node) if node.op in ("Add", "Sub") else None

    def identity(self) -> ConvForm | None:
        kind = self.rw.type_of(self.source)
        if kind is None or len(kind.shape) < 3 or not isinstance(kind.shape[1], int):
            return None
        self.weights += kind.shape[1]
        return identity_form(kind.shape[1], len(kind.shape) - 2)

    def convolution(self, node: Node) -> ConvForm | None:
        weight = self.rw.constant(node.inputs[1])
        bias = self.rw.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
        fused = node.attr_str("activation", "") or node.attr_int("residual", 0)
        unknown_bias = bias is None and len(node.inputs) > 2 and node.inputs[2] != ""
        if node.inputs[0] != self.source or weight is None or fused or unknown_bias:
            return None
        self.nodes.append(node)
        self.weights += weight.size
        self.convolutions += 1
        return form_of_conv(node, weight, bias)


def merge(rw: Rewriter, root: Node, source: str, form: ConvForm, nodes: list[Node]) -> None:
    """Puts one Conv in the place of `nodes`, the sum under `root`."""
    if min((*form.begin, *form.end())) < 0:
        return
    stem, out = root.name or root.outputs[0], root.outputs[0]
    dtype = rw.graph.types[source].np_dtype
    inputs = [source, rw.add_constant(f"{stem}_weight", form.weight.astype(dtype))]
    if form.bias.any():
        inputs.append(rw.add_constant(f"{stem}_bias", form.bias.astype(dtype)))
    attrs: dict[str, Attr] = {
        "group": form.groups,
        "kernel_shape": list(form.kernel),
        "strides": list(form.strides),
        "dilations": list(form.dilations),
        "pads": [*form.begin, *form.end()],
    }
    rw.replace(nodes, [Node("Conv", tuple(inputs), (out,), attrs, stem)])
