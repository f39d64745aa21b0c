"""An encoder exported to ONNX, read as what it computes for one whole text: a row per token, attention among rows.
Written for [batch, sequence] with masks and shape arithmetic, it becomes a graph over tokens like our own encoders'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

import numpy as np

from edgert.converters.llm.layers import POSITIONS, TOKENS
from edgert.converters.llm.weights import Held, HeldRows, Weight
from edgert.converters.passes.deduplicate import RANDOM
from edgert.errors import UnsupportedError
from edgert.graph.evaluate import evaluate_node
from edgert.graph.infer import infer_types
from edgert.graph.ir import Array, Attr, Graph, Node, TensorType

IDS, MASK, SEGMENTS = "input_ids", "attention_mask", "token_type_ids"
"""What exporters call the inputs: int64 or int32 [batch, sequence]."""

HIDDEN = "hidden"

UNARY = {"Gelu", "Relu", "Tanh", "Sigmoid", "Swish", "HardSwish", "Erf"}
VIEWS = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Expand", "Identity"}
"""Operators whose outputs hold elements of their first input; Gather is another, where that is not a table."""

MAX_KNOWN = 1 << 28
"""Bytes that what does not depend on the text may take beyond its inputs: masks of 8192 tokens just fit."""

ROLES = ("o", "up", "down")
"""Of the linear layers that follow an attention, in order."""


class Unreadable(UnsupportedError):
    """The graph computes something else than rows and attention among them."""


@dataclass(frozen=True, eq=False)
class Known:
    """A tensor that does not depend on the text. numbers, scale: int8 values and what they are multiplied by."""

    value: Array
    numbers: Array | None = None
    scale: Array | None = None


@dataclass(frozen=True, eq=False)
class Linear:
    """x times weight [N, K] plus bias [N], not computed yet: what reads it may take part of it or add to it."""

    x: str
    weight: Weight
    bias: Array | None = None


@dataclass(frozen=True, eq=False)
class Sum:
    """The rows `x` plus table [S, N], a row for every position, not added yet."""

    x: str
    table: Array


Rows: TypeAlias = "str | Linear | Sum"
"""A row per token: a tensor ["T", N] of the new graph by name, or what it would be."""


@dataclass(frozen=True, eq=False)
class View:
    """`scale` times elements of `rows` in any arrangement. index: their places in [S, N], shaped as the tensor."""

    rows: Rows
    index: Array
    width: int
    scale: float = 1.0

    @property
    def whole(self) -> bool:
        """Whether it is all of the rows, in order."""
        flat = self.index.reshape(-1)
        return (
            self.scale == 1.0
            and len(flat) > 0
            and flat[-1] == len(flat) - 1
            and bool((np.diff(flat) == 1).all())
            and flat[0] == 0
        )


@dataclass(frozen=True, eq=False)
class Scores:
    """Products of queries and keys, per head, and then what softmax makes of them."""

    query: View
    key: View
    scale: float
    normalized: bool = False


@dataclass(frozen=True, eq=False)
class IsNan:
    """Where the probabilities are not numbers: nowhere, when every token is part of the text."""

    scores: Scores


Value: TypeAlias = "Known | View | Scores | IsNan"


def read_exported(graph: Graph, length: int) -> tuple[Graph, dict[str, Weight]]:
    """(graph, weights) in the form that `build_encoder` gives, of a graph with inputs input_ids and others.

    length: tokens of the longest text. The mask counts as all ones, since texts are not padded, and the types of
    tokens as zeros. Raises Unreadable if the graph computes anything else than such an encoder.
    """
    if IDS not in graph.inputs:
        raise Unreadable(f"expected an input {IDS}, found {', '.join(graph.inputs)}")
    return _Reader(bound(graph, length), length).read()


def bound(graph: Graph, length: int) -> Graph:
    """`graph` for one text of `length` tokens."""
    sizes: dict[str, int] = {}
    for name in graph.inputs:
        shape = graph.types[name].shape
        if len(shape) != 2:
            raise Unreadable(f"expected {name} [batch, sequence], found {list(shape)}")
        for dim, size in zip(shape, (1, length), strict=True):
            if isinstance(dim, str):
                sizes[dim] = size
            elif dim != size:
                raise Unreadable(f"expected any number of texts and tokens in {name}, found {list(shape)}")
    return infer_types(graph, sizes)


class _Reader:
    """Walks the nodes once; `values` says what each tensor is. Nodes are added where something needs them."""

    def __init__(self, graph: Graph, length: int) -> None:
        self.source, self.length = graph, length
        kind = TensorType("int32", ("T",))
        self.graph = Graph("onnx", [TOKENS, POSITIONS], types={TOKENS: kind, POSITIONS: kind})
        self.weights: dict[str, Weight] = {}
        self.attentions, self.linears = 0, 0
        ids = np.zeros((1, length))
        self.values: dict[str, Value] = {}
        for name in graph.inputs:
            if name != IDS:
                value = ids + (1 if name == MASK else 0)
                self.values[name] = Known(value.astype(graph.types[name].np_dtype))
        self.values |= {name: Known(value) for name, value in graph.constants.items()}

    def read(self) -> tuple[Graph, dict[str, Weight]]:
        for node in self.source.nodes:
            self.step(node)
        for name in self.source.outputs:
            value = self.values.get(name)
            if isinstance(value, View) and value.whole and value.index.ndim == 3:
                last = self.tensor(value)
                break
        else:
            raise Unreadable(f"expected an output [batch, sequence, width], found {', '.join(self.source.outputs)}")
        return self.finish(last)

    def finish(self, last: str) -> tuple[Graph, dict[str, Weight]]:
        """`last` becomes the output; what it does not need goes."""
        needed, kept = {last}, []
        for node in reversed(self.graph.nodes):
            if node.outputs[0] in needed:
                needed.update(filter(None, node.inputs))
                kept.append(node)
        self.graph.nodes = kept[::-1]
        self.graph.nodes = [
            replace(n, outputs=tuple(HIDDEN if name == last else name for name in n.outputs)) for n in self.graph.nodes
        ]
        self.weights = {name: weight for name, weight in self.weights.items() if name in needed}
        for name, weight in self.weights.items():
            self.graph.types[name] = TensorType("float32", weight.shape)
        self.graph.outputs = [HIDDEN]
        return infer_types(self.graph, {}), self.weights

    # ---- one node of the source
    def step(self, node: Node) -> None:
        """Says what the outputs of `node` are. Raises Unreadable, naming it, if they are nothing known."""
        if node.op == "Shape":
            shape = self.source.types[node.inputs[0]].static_shape
            part = slice(node.attr_int("start", 0), node.attr_int("end", len(shape)))
            self.values[node.outputs[0]] = Known(np.array(shape[part], np.int64))
            return
        given = [self.values.get(name) for name in node.inputs]
        if (
            IDS not in node.inputs
            and node.op not in RANDOM
            and all(isinstance(v, Known) or not name for v, name in zip(given, node.inputs, strict=True))
        ):
            self.known(node, [v for v in given if isinstance(v, Known) or v is None])
            return
        rule = RULES.get(node.op, _views if node.op in VIEWS else _unary if node.op in UNARY else None)
        made = rule(self, node, given) if rule is not None else None
        if made is None:
            raise Unreadable(f"node {node.name!r} ({node.op}) is not part of an encoder that edgert can read")
        self.values |= zip(node.outputs, made, strict=False)

    def known(self, node: Node, given: list[Known | None]) -> None:
        nbytes = sum(self.source.types[name].nbytes for name in node.outputs if name)
        if nbytes > MAX_KNOWN + 8 * sum(v.value.nbytes for v in given if v is not None):
            raise Unreadable(f"node {node.name!r} ({node.op}) makes a constant of {nbytes} bytes")
        made = evaluate_node(self.source, node, [v.value if v is not None else None for v in given])
        for name, value in made.items():
            self.values[name] = Known(value)
        kind = self.source.types[node.inputs[0]].quant if node.op == "DequantizeLinear" else None
        first = given[0] if given else None
        if kind is not None and first is not None and first.value.dtype == np.int8 and not kind.zero_point.any():
            shape = [1] * first.value.ndim
            if kind.axis is not None:
                shape[kind.axis] = -1
            name = node.outputs[0]
            self.values[name] = Known(made[name], first.value, kind.scale.reshape(shape))

    # ---- the new graph
    def emit(self, op: str, inputs: tuple[str, ...], output: str, **attrs: Attr) -> str:
        name = self.graph.unique(output)
        self.graph.nodes.append(Node(op, inputs, (name,), attrs, name))
        self.graph.types[name] = TensorType("float32", ("T", 0))  # its name is taken; the type is inferred at the end
        return name

    def weight(self, name: str, weight: Weight) -> str:
        """Keeps `weight` under `name`, numbered if it is taken."""
        free = next(
            n for n in (name, *(f"{name}.{i}" for i in range(2, len(self.weights) + 3))) if n not in self.weights
        )
        self.weights[free] = weight
        return free

    def vector(self, name: str, value: Array) -> str:
        return self.weight(name, Held(np.ascontiguousarray(value, np.float32).reshape(-1), "F32"))

    def all_of(self, rows: str, width: int) -> View:
        """The rows `rows` as the source has them: [1, S, width]."""
        return View(rows, np.arange(self.length * width).reshape(1, self.length, width), width)

    def tensor(self, value: View) -> str:
        """The name of the rows that `value` is; whatever was put off is added to the graph now."""
        if not value.whole:
            raise Unreadable("elements of rows in another arrangement are used")
        rows = value.rows
        if isinstance(rows, Linear):
            return self.linear(rows)
        if isinstance(rows, Sum):
            if (rows.table == rows.table[0]).all():
                return self.emit("Add", (rows.x, self.vector("shift", rows.table[0])), "shifted")
            table = self.weight("position_table", Held(np.ascontiguousarray(rows.table, np.float32)))
            place = self.emit("Gather", (table, POSITIONS), "embedded.position", axis=0)
            return self.emit("Add", (rows.x, place), "embedded.sum")
        return rows

    def linear(self, rows: Linear, residual: str = "", role: str = "") -> str:
        """Adds the product; it is called by its place after the last attention."""
        if not role:
            role = ROLES[self.linears] if self.linears < len(ROLES) else f"linear{self.linears}"
            self.linears += 1
        prefix = f"layers.{max(self.attentions - 1, 0)}.{role}"
        inputs = [rows.x, self.weight(prefix, rows.weight)]
        if rows.bias is not None or residual:
            inputs.append(self.vector(f"{prefix}.bias", rows.bias) if rows.bias is not None else "")
        if residual:
            return self.emit("Gemm", (*inputs, residual), f"{prefix}.out", transB=1, residual=1)
        return self.emit("Gemm", tuple(inputs), f"{prefix}.out", transB=1)

    def attention(self, scores: Scores, value: View) -> View:
        """One product for queries, keys and values, then attention among them."""
        if value.index.ndim < 3 or value.index.size == 0:
            raise Unreadable(f"expected values [heads, sequence, depth], found {list(value.index.shape)}")
        heads, _, depth = value.index.shape[-3:]
        parts = [
            selected(view, axes, heads, depth, self.length)
            for view, axes in ((scores.query, (0, 1, 2)), (scores.key, (0, 2, 1)), (value, (0, 1, 2)))
        ]
        if len({part.x for part in parts}) != 1 or value.scale != 1.0:
            raise Unreadable("queries, keys and values are not made of the same rows")
        biases = [np.zeros(part.weight.shape[0]) if part.bias is None else part.bias for part in parts]
        weight = stacked([part.weight for part in parts])
        self.attentions += 1
        self.linears = 0
        qkv = self.linear(Linear(parts[0].x, weight, np.concatenate(biases)), role="qkv")
        scale = scores.scale * scores.query.scale * scores.key.scale
        attrs: dict[str, Attr] = {"num_heads": heads, "kv_num_heads": heads, "causal": 0}
        if not np.isclose(scale, depth**-0.5, rtol=1e-6, atol=0.0):
            attrs["scale"] = scale
        name = self.emit("GroupQueryAttention", (qkv,), f"layers.{self.attentions - 1}.attention", **attrs)
        place = np.arange(self.length * heads * depth).reshape(self.length, heads, depth)
        return View(name, place.transpose(1, 0, 2).reshape(value.index.shape), heads * depth)


def selected(view: View, axes: tuple[int, int, int], heads: int, depth: int, length: int) -> Linear:
    """The linear layer that makes just the columns that `view` [heads, S, depth] (after `axes`) takes, in its order.

    Raises Unreadable unless every token takes the same columns of its own row."""
    shape = view.index.shape
    if not isinstance(view.rows, Linear) or len(shape) < 3 or view.index.size != prod(shape[-3:]):
        raise Unreadable("queries, keys or values are not linear in the rows, or heads share them")
    index = np.asarray(view.index.reshape(shape[-3:]).transpose(axes))
    if list(index.shape) != [heads, length, depth]:
        raise Unreadable(f"expected {heads} heads of {depth}, found {list(index.shape)}")
    columns = index[:, 0, :]
    if not np.array_equal(index, columns[:, None, :] + view.width * np.arange(length)[None, :, None]):
        raise Unreadable("queries, keys or values mix tokens")
    chosen = columns.reshape(-1)
    if chosen.max(initial=0) >= view.width:
        raise Unreadable("queries, keys or values mix tokens")
    linear = view.rows
    bias = None if linear.bias is None else linear.bias[chosen]
    return Linear(linear.x, take(linear.weight, chosen), bias)


def take(weight: Weight, rows: Array) -> Weight:
    """`rows` of a weight of this module."""
    if isinstance(weight, HeldRows):
        return HeldRows(weight.numbers[rows], weight.scale[rows])
    return Held(weight.load()[rows], weight.source)


def stacked(parts: list[Weight]) -> Weight:
    """One above the other."""
    grids = [part for part in parts if isinstance(part, HeldRows)]
    if len(grids) == len(parts):
        return HeldRows(np.concatenate([g.numbers for g in grids]), np.concatenate([g.scale for g in grids]))
    return Held(np.concatenate([part.load() for part in parts]), parts[0].source)


def matrix(known: Known, transposed: bool) -> Weight:
    """[N, K] of a constant, which is [K, N] unless `transposed`; as int8 where it is that and each row has a scale."""
    value = known.value if transposed else known.value.T
    if known.numbers is not None and known.scale is not None:
        numbers = known.numbers if transposed else known.numbers.T
        scale = known.scale if transposed or known.scale.ndim == 0 else known.scale.T
        if scale.size == 1 or scale.shape == (len(numbers), 1):
            rows = np.array(np.broadcast_to(scale.reshape(-1), len(numbers)), np.float32)
            if numbers.size and numbers.min() >= -127:
                return HeldRows(np.ascontiguousarray(numbers), rows)
    return Held(np.ascontiguousarray(value, np.float32), "F32")


# ---- what operators make of such values: rule(reader, node, inputs) -> outputs, None if it is nothing known

Rule: TypeAlias = Callable[[_Reader, Node, "list[Value | None]"], "list[Value] | None"]


def _views(r: _Reader, node: Node, given: list[Value | None]) -> list[Value] | None:
    """The same rearrangement of the places of the elements."""
    view = given[0]
    if not isinstance(view, View) or any(not isinstance(v, Known) for v in given[1:] if v is not None):
        return None
    types = dict(r.source.types)
    for name in (node.inputs[0], *node.outputs):
        if name:
            types[name] = replace(types[name], dtype="int64")
    moved = evaluate_node(
        replace(r.source, types=types),
        node,
        [view.index, *(v.value if isinstance(v, Known) else None for v in given[1:])],
    )
    return [replace(view, index=moved[name]) for name in node.outputs]


def _unary(r: _Reader, node: Node, given: list[Value | None]) -> list[Value] | None:
    if not isinstance(given[0], View):
        return None
    name = r.emit(node.op, (r.tensor(given[0]),), f"{node.op.lower()}", **node.attrs)
    return [replace(given[0], rows=name)]


def _gather(r: _Reader, node: Node, given: list[Value | None]) -> list[Value] | None:
    table = given[0]
    if isinstance(table, View):
        return _views(r, node, given)
    if node.inputs[1] != IDS or not isinstance(table, Known) or table.value.ndim != 2 or node.attr_int("axis", 0):
        return None
    name = r.weight("embedding", matrix(table, transposed=True))
    return [r.all_of(r.emit("Gather", (name, TOKENS), "embedded", axis=0), table.value.shape[1])]


def _matmul(r: _Reader, node: Node, given: list[Value | None]) -> list[Value] | None:
    left, right = given[:2]
    if isinstance(left, View) and isinstance(right, Known) and right.value.ndim == 2:
        return _product(r, left, matrix(right, transposed=False), None)
    if isinstance(left, View) and isinstance(right, View) and left.index.ndim in (3, 4):
        return [Scores(left, right, 1.0)] if left.index.shape[-2] == right.index.shape[-1] == r.length else None
    if isinstance(left, Scores) and left.normalized and isinstance(right, View):
        return [r.attention(left, right)]
    return None


def _gemm(r: _Reader, node: Node, given: list[Value | None]) -> list[Value] | None:
    left, right, bias = (*given, None)[:3]
    plain = not node.attr_int("transA", 0) and node.attr_float("alpha", 1.0) == node.attr_float("beta", 1.0) == 1.0
    if not plain or not isinstance(left, View) or not isinstance(right, Known):
        return None
    if bias is not None and (not isinstance(bias, Known) or bias.value.ndim > 1):
        return None
    return _product(r, left, matrix(right, bool(node.attr_int("transB", 0))), bias.value if bias else None)


def _product(r: _Reader, x: View, weight: Weight, bias: Array | None) -> list[Value] | None:
    width = weight.shape[0]
    if x.index.shape[-1] != x.width:
        return None
    index = np.arange(r.length * width).reshape(*x.index.shape[:-1], width)
    full = None if bias is None else np.broadcast_to(bias.reshape(-1), width)
    return [View(Linear(r.tensor(x), weight, full), index, width)]


def _add(r: _Reader, node: Node, given: list[Value | None]) -> list[Value] | None:
    for x, y in (given, given[::-1]):
        if isinstance(x, Scores) and not x.normalized and isinstance(y, Known):
            return None if y.value.any() else [x]
        if isinstance(x, View) and isinstance(y, Known):
            return _add_known(r, x, y.value)
    if not isinstance(given[0], View) or not isinstance(given[1], View) or given[0].index.shape != given[1].index.shape:
        return None
    for x, y in (given[::-1], given):
        assert isinstance(x, View) and isinstance(y, View)
        if isinstance(x.rows, Linear) and x.whole:
            return [replace(x, rows=r.linear(x.rows, r.tensor(y)))]
    return [replace(given[0], rows=r.emit("Add", (r.tensor(given[0]), r.tensor(given[1])), "sum"))]


def _add_known(r: _Reader, x: View, value: Array) -> list[Value] | None:
    fits = all(a in (1, b) for a, b in zip(value.shape[::-1], x.index.shape[::-1], strict=False))
    if value.ndim > x.index.ndim or not fits or not x.whole:
        return None
    rows = x.rows
    if isinstance(rows, Linear) and value.size in (1, x.width) and value.shape[-1:] in ((), (1,), (x.width,)):
        added = np.broadcast_to(value.reshape(-1), x.width).astype(np.float32)
        return [replace(x, rows=replace(rows, bias=added if rows.bias is None else rows.bias + added))]
    table = np.broadcast_to(value, x.index.shape).reshape(r.length, x.width)
    if isinstance(rows, Sum):
        return [replace(x, rows=Sum(rows.x, rows.table + table))]
    return [replace(x, rows=Sum(r.tensor(x), table))]


def _scale(r: _Reader, node: Node, given: list[Value | None]) -> list[Value] | None:
    """Mul and Div by one number; Mul of rows by rows or by a vector."""
    for x, y in (given, given[::-1]) if node.op == "Mul" else (given,):
        if isinstance(y, Known) and y.value.size == 1 and isinstance(x, View | Scores):
            number = float(y.value.reshape(()))
            if number == 0.0 or y.value.ndim > len(r.source.types[node.outputs[0]].shape):
                return None
            if isinstance(x, Scores) and x.normalized:
                return None
            return [replace(x, scale=x.scale * number if node.op == "Mul" else x.scale / number)]
        vector = isinstance(y, Known) and y.value.shape and y.value.size == y.value.shape[-1]
        if node.op == "Mul" and isinstance(x, View) and isinstance(y, Known) and vector and y.value.size == x.width:
            return [replace(x, rows=r.emit("Mul", (r.tensor(x), r.vector("factor", y.value)), "scaled"))]
    a, b = given
    if node.op == "Mul" and isinstance(a, View) and isinstance(b, View) and a.index.shape == b.index.shape:
        return [replace(a, rows=r.emit("Mul", (r.tensor(a), r.tensor(b)), "product"))]
    return None


def _softmax(r: _Reader, node: Node, given: list[Value | None]) -> list[Value] | None:
    x = given[0]
    rank = len(r.source.types[node.inputs[0]].shape)
    if not isinstance(x, Scores) or x.normalized or node.attr_int("axis", -1) % rank != rank - 1:
        return None
    return [replace(x, normalized=True)]


def _is_nan(r: _Reader, node: Node, given: list[Value | None]) -> list[Value] | None:
    return [IsNan(given[0])] if isinstance(given[0], Scores) and given[0].normalized else None


def _where(r: _Reader, node: Node, given: list[Value | None]) -> list[Value] | None:
    """Where the mask hides nothing: the scores; where nothing is NaN: the probabilities."""
    condition, yes, no = given
    if isinstance(condition, IsNan):
        return [no] if no is condition.scores else None
    if isinstance(condition, Known):
        if condition.value.all() and isinstance(yes, Scores):
            return [yes]
        if not condition.value.any() and isinstance(no, Scores):
            return [no]
    return None


def _normalize(r: _Reader, node: Node, given: list[Value | None]) -> list[Value] | None:
    x, rank = given[0], len(r.source.types[node.inputs[0]].shape)
    if not isinstance(x, View) or node.attr_int("axis", -1) % rank != rank - 1 or any(node.outputs[1:]):
        return None
    names, prefix = [r.tensor(x)], f"layers.{r.attentions - 1}.norm" if r.attentions else "embedding_norm"
    for kind, value in zip((prefix, f"{prefix}.bias"), given[1:], strict=False):
        if not isinstance(value, Known) or value.value.shape != (x.width,):
            return None
        names.append(r.vector(kind, value.value))
    attrs: dict[str, Attr] = {"axis": -1, "epsilon": node.attr_float("epsilon", 1e-5)}
    return [replace(x, rows=r.emit(node.op, tuple(names), "normalized", **attrs))]


def _cast(r: _Reader, node: Node, given: list[Value | None]) -> list[Value] | None:
    kinds = r.source.types[node.inputs[0]], r.source.types[node.outputs[0]]
    value = given[0]
    return [value] if value is not None and kinds[0].dtype == kinds[1].dtype else None


RULES: Mapping[str, Rule] = {
    "Add": _add, "Cast": _cast, "Div": _scale, "Gather": _gather, "Gemm": _gemm, "IsNaN": _is_nan,
    "LayerNormalization": _normalize, "MatMul": _matmul, "Mul": _scale, "RMSNormalization": _normalize,
    "Softmax": _softmax, "Where": _where,
}  # fmt: skip
