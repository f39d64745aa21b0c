"""The graph under construction: IR names, constants, layouts and quantization of TFLite tensors.
How each operator is written with it is in the `lift_*` modules; `lifts.py` is their table.

Images stay [N, H, W, C], as TFLite has them; an operator that ONNX defines on [N, C, H, W] is written between two
Transposes, which `passes/sink_transposes.py` moves and cancels. An int8 activation is kept as uint8, value + 128
with its zero point raised likewise, as everywhere in edgert; inputs and outputs of the model keep their type.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgert.converters.names import Names, shortened
from edgert.converters.tflite.model import ABSENT, TfliteGraph, TfliteModel, TfliteOperator, TfliteTensor
from edgert.converters.tflite.variables import Variables
from edgert.graph.ir import DTYPES, Array, Attr, Dim, Graph, Node, Quantization, TensorType
from edgert.graph.operators import OPERATORS

TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]

RAISED = 128
"""What is added to int8 activations to make them uint8."""

MAX_DEPTH = 16
"""Sub-graphs inside one another: more than any model has, and few enough for Python to follow."""
MAX_PARTS = 1000
"""Sub-graphs in all, counted each time one is used: sixteen floors of two each would be 65,536."""

MAX_OPERATORS = 1 << 17
"""Of all those sub-graphs, likewise counted: what the reader allows one graph."""

ACTIVATIONS: dict[str, tuple[float, float] | None] = {
    "NONE": None, "RELU": (0.0, np.inf), "RELU_N1_TO_1": (-1.0, 1.0), "RELU6": (0.0, 6.0),
}  # fmt: skip
"""Fused activations: what range they clip to, None for none. Source: TensorFlow Lite, CalculateActivationRange."""


def first_of(name: str) -> str:
    """The first of the names that a converter joined with ';' when it fused their layers."""
    return name.partition(";")[0]


MAX_MADE = 1 << 25
"""Values of all constants that lifts make of sizes alone: a file of a few bytes may state any size."""


class Refused(Exception):
    """An operator edgert cannot take: what is at fault, and what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(advice)
        self.what, self.advice = what, advice


@dataclass(frozen=True)
class Problem:
    """Why one operator cannot be converted. node: its number and the tensor it makes. what: the tensor or option at
    fault, '' when it is the operator itself."""

    node: str
    op: str
    version: int
    what: str
    advice: str

    def __str__(self) -> str:
        fault = f", {self.what}" if self.what else ""
        return f"node {self.node!r}: {self.op} (version {self.version}{fault}): {self.advice}"


class Builder:
    """Collects the nodes for one TFLite graph.

    scope: put before every name, '' for the model itself; bodies of control flow have one of their own, so that
    names are unique over all graphs of a model.
    """

    def __init__(self, model: TfliteModel, source: TfliteGraph, scope: str = "") -> None:
        self.model, self.source, self.scope = model, source, scope
        self.graph = Graph(source.name or model.path.stem)
        self.notes: list[str] = []
        self.problems: list[Problem] = []
        self.variables = Variables()
        self._nesting: tuple[int, ...] = ()
        self._parts: list[int] = []
        self._made = [0]
        self._values: dict[int, Array] = {}
        self._names: dict[int, str] = {}
        self._ends: dict[int, str] = {}
        self._tensor_names, self._node_names = Names(), Names()
        self._made_of: dict[tuple[int, str], str] = {}
        self._moved: dict[tuple[str, tuple[int, ...]], str] = {}

    def nested(self, op: TfliteOperator, graph: int, part: str) -> Builder:
        """A builder for sub-graph number `graph`, which `op` runs as its `part`. Tensors and nodes get other names
        than any here, and its problems and notes join those here.

        Raises Refused when there is no such sub-graph, it is inside itself, or there are too many.
        """
        if not 0 < graph < len(self.model.graphs):
            raise Refused(part, f"expected a sub-graph 1..{len(self.model.graphs) - 1}, found {graph}")
        if graph in self._nesting or len(self._nesting) == MAX_DEPTH or len(self._parts) == MAX_PARTS:
            what = f"at most {MAX_PARTS} sub-graphs, none in itself and at most {MAX_DEPTH} inside one another"
            raise Refused(part, f"expected {what}, found others")
        self._parts.append(len(self.model.graphs[graph].operators))
        if sum(self._parts) > MAX_OPERATORS:
            raise Refused(part, f"expected at most {MAX_OPERATORS} operators in sub-graphs, each time one is used")
        inner = Builder(self.model, self.model.graphs[graph], f"{self.scope}{op.op}_{op.index}/{part}/")
        inner._nesting, inner._parts, inner._made = (*self._nesting, graph), self._parts, self._made
        inner.problems, inner.notes = self.problems, self.notes
        inner._tensor_names, inner._node_names = self._tensor_names, self._node_names
        return inner

    # ---- what is known of a tensor
    def tensor(self, index: int) -> TfliteTensor:
        return self.source.tensors[index]

    def value(self, index: int) -> Array | None:
        """The value of a constant as the file has it, or as `fold` gave it; None for what is computed, or absent."""
        if index == ABSENT:
            return None
        return self._values[index] if index in self._values else self.tensor(index).data

    def fold(self, index: int, value: Array) -> None:
        """Tensor `index`, which an operator makes of constants, is the constant `value`."""
        self._values[index] = value
        self._names.pop(index, None)  # a name kept for an output of the graph: no node makes it, an Identity will

    def need_value(self, index: int, what: str) -> Array:
        """The value of a constant. Raises Refused naming `what` when it is computed at run time."""
        value = self.value(index)
        if value is None:
            raise Refused(what, f"expected a constant {what}, found a tensor computed at run time")
        return value

    def need_ints(self, index: int, what: str) -> list[int]:
        """The values of a constant of integers, flat. Raises Refused as `need_value` does."""
        return [int(v) for v in self.need_value(index, what).ravel()]

    def need_size(self, index: int, axis: int, what: str) -> int:
        """Size of dimension `axis`. Raises Refused naming `what` when it is free."""
        size = self.shape(index)[axis]
        if isinstance(size, str):
            raise Refused(what, f"expected a fixed {what}, found one that is free; fix it when the model is made")
        return size

    def check_made(self, what: str, *sizes: int) -> None:
        """To be called before a constant of these sizes is made of them alone. Raises Refused when the model has more
        than MAX_MADE values of such constants."""
        self._made[0] += math.prod(sizes)
        if self._made[0] > MAX_MADE:
            found = " x ".join(map(str, sizes))
            raise Refused(what, f"expected at most {MAX_MADE} values of constants made of sizes, found {found} more")

    def quant(self, index: int) -> Quantization | None:
        """Quantization of the tensor as the IR stores it: zero points of int8 activations are raised by 128."""
        found = self.tensor(index).quant
        if found is None:
            return None
        raised = RAISED if self.is_raised(index) else 0
        zero = (found.zero_point + raised).astype(np.int32)
        if found.per_tensor:
            return Quantization(found.scale.reshape(()), zero.reshape(()))
        return Quantization(found.scale, zero, found.axis)

    def is_raised(self, index: int) -> bool:
        """Whether the IR keeps this tensor as uint8 though the file says int8: quantized activations only."""
        tensor = self.tensor(index)
        return tensor.dtype == "int8" and self.value(index) is None and tensor.quant is not None

    def is_quantized(self, index: int) -> bool:
        return index != ABSENT and self.tensor(index).quant is not None

    def is_complex(self, index: int) -> bool:
        """Whether the tensor is of complex numbers, which the IR has as pairs of float32 in a last axis."""
        return index != ABSENT and self.tensor(index).dtype == "complex64"

    def dtype(self, index: int) -> str:
        """NumPy name of the type the IR has for the tensor. Raises Refused for types it cannot hold."""
        tensor = self.tensor(index)
        if self.is_complex(index) and self.value(index) is None:
            return "float32"
        if tensor.dtype not in DTYPES:
            raise Refused(f"tensor {tensor.name!r}", f"type {tensor.dtype} is not supported")
        return "uint8" if self.is_raised(index) else tensor.dtype

    def shape(self, index: int) -> tuple[Dim, ...]:
        """Sizes; a free first one is 'N', other free ones are named after their tensor."""
        tensor = self.tensor(index)
        pair = (2,) if self.is_complex(index) else ()
        if len(tensor.signature) != len(tensor.shape):
            return (*tensor.shape, *pair)
        sizes = tuple(
            size if free >= 0 else ("N" if axis == 0 else f"{self.named(index)}_{axis}")
            for axis, (size, free) in enumerate(zip(tensor.shape, tensor.signature, strict=True))
        )
        return (*sizes, *pair)

    def rank(self, index: int) -> int:
        return len(self.tensor(index).shape)

    def type(self, index: int) -> TensorType:
        return TensorType(self.dtype(index), self.shape(index), self.quant(index))

    # ---- names
    def fresh(self, name: str) -> str:
        """`name` in this scope, or `name_1`, ... : one that no tensor has."""
        return self._tensor_names.fresh(f"{self.scope}{shortened(name)}")

    def named(self, index: int) -> str:
        """The IR name of a computed tensor: that of the file, made unique."""
        if index not in self._names:
            self._names[index] = self.fresh(first_of(self.tensor(index).name) or f"tensor_{index}")
        return self._names[index]

    def rename(self, index: int, name: str) -> None:
        """Another tensor stands for this one: for operators that do nothing."""
        self._names[index] = name

    def indices(self) -> dict[str, int]:
        """IR name -> index of the tensor it stands for; of several tensors with one name, the first."""
        ends = zip(self.graph.inputs, self.source.inputs, strict=False)
        found = {**dict(ends), **{name: index for index, name in self._ends.items()}}
        for index, name in self._names.items():
            found.setdefault(name, index)
        return found

    # ---- inputs of new nodes
    def use(self, index: int) -> str:
        """The IR tensor for tensor `index`, '' when absent. Constants are stored when they are first used."""
        if index == ABSENT:
            return ""
        value = self.value(index)
        if value is None or index in self._names:
            return self.named(index)
        name = self.named(index)
        self.graph.constants[name] = value
        self.graph.types[name] = TensorType(value.dtype.name, tuple(value.shape), self.quant(index))
        return name

    def data(self, index: int) -> str:
        """As `use`, for values that are moved or passed on: quantized int8 constants are uint8, as activations are."""
        value, quant = self.value(index), None if index == ABSENT else self.quant(index)
        if value is None or value.dtype != np.int8 or quant is None:
            return self.use(index)
        raised = replace(quant, zero_point=quant.zero_point + RAISED)
        values = (value.astype(np.int16) + RAISED).astype(np.uint8)
        return self.constant(f"{self.tensor(index).name}/uint8", values, raised)

    def real(self, index: int) -> str:
        """Tensor `index` as real numbers: what is quantized is dequantized."""
        if index == ABSENT or not self.is_quantized(index):
            return self.use(index)
        name = self.use(index)
        return self.step("DequantizeLinear", [name])

    def int64(self, index: int) -> str:
        """Tensor `index` of integers as an int64 tensor, flat: axes, sizes and positions, as ONNX takes them."""
        value = self.value(index)
        if value is not None:
            return self.constant(f"{self.tensor(index).name}/int64", value.astype(np.int64).reshape(-1))
        name = self.use(index)
        if self.dtype(index) != "int64":
            name = self.step("Cast", [name], {"to": "int64"}, name)
        if self.rank(index) != 1:
            name = self.step("Reshape", [name, self.ints("flat", [-1])], None, name)
        return name

    def scalar(self, name: str, value: float, dtype: str) -> str:
        """A constant scalar."""
        return self.constant(name, np.array(value, dtype))

    def constant(self, name: str, value: Array, quant: Quantization | None = None) -> str:
        """Adds a constant called like `name`. Returns the name used."""
        name = self.fresh(first_of(name))
        self.graph.constants[name] = np.asarray(value, order="C")
        self.graph.types[name] = TensorType(value.dtype.name, tuple(value.shape), quant)
        return name

    def constant_of(self, index: int, name: str, value: Array) -> str:
        """A constant made of constant `index`, once for each `name`."""
        key = index, name
        if key not in self._made_of:
            self._made_of[key] = self.constant(name, value)
        return self._made_of[key]

    def ints(self, name: str, values: Iterable[int]) -> str:
        """An int64 vector constant, for axes and sizes."""
        return self.constant(name, np.array(list(values), np.int64))

    def moved(self, name: str, perm: Sequence[int]) -> str:
        """The IR tensor `name` transposed; asked for twice, it is made once."""
        key = name, tuple(perm)
        if key not in self._moved:
            kind = self.graph.types.get(name)
            suffix = "nchw" if list(perm) == TO_NCHW else "".join(map(str, perm))
            made = self.fresh(f"{name.removeprefix(self.scope)}/{suffix}")
            if kind is not None:
                shape = tuple(kind.shape[p] for p in perm)
                self.graph.types[made] = TensorType(kind.dtype, shape, kind.quant)
            self.append("Transpose", [name], [made], {"perm": list(perm)})
            self._moved[key] = made
        return self._moved[key]

    def nchw(self, index: int) -> str:
        """Tensor `index` [N, H, W, C] as [N, C, H, W]."""
        return self.moved(self.use(index), TO_NCHW)

    # ---- outputs
    def declare(self, index: int) -> str:
        """The IR name of output tensor `index`, its type declared."""
        name = self.named(index)
        self.graph.types[name] = self.type(index)
        return name

    def emit(
        self,
        op: TfliteOperator,
        kind: str,
        inputs: Sequence[str],
        attrs: dict[str, Attr] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> str:
        """Adds IR node `kind` that makes the outputs of `op`, or the tensors `outputs`, named and typed by the
        caller. Returns the first output."""
        names = [self.declare(i) for i in op.outputs] if outputs is None else list(outputs)
        self.append(kind, inputs, names, attrs, op)
        return names[0]

    def emit_fused(
        self, op: TfliteOperator, kind: str, inputs: Sequence[str], attrs: dict[str, Attr] | None = None
    ) -> str:
        """Adds `kind` and after it the fused activation of `op`, which make its only output."""
        out = op.outputs[0]
        activation = self._activation(op)
        made = self.declare(out)
        first = self.between(op, "linear", self.type(out)) if activation is not None else made
        self.append(kind, inputs, [first], attrs, op)
        if activation is not None:
            self._activate(activation, first, made)
        return made

    def emit_nchw(
        self, op: TfliteOperator, kind: str, inputs: Sequence[str], attrs: dict[str, Attr] | None = None
    ) -> str:
        """Adds `kind`, which works on [N, C, H, W], and the fused activation of `op`, if it has one; the result,
        moved back, is the first output of `op`."""
        return self.emit_moved(op, kind, inputs, attrs, TO_NHWC)

    def emit_moved(
        self, op: TfliteOperator, kind: str, inputs: Sequence[str], attrs: dict[str, Attr] | None, perm: Sequence[int]
    ) -> str:
        """As `emit_nchw`: the first output of `op` is what `kind` makes, transposed by `perm`."""
        out = op.outputs[0]
        back = [list(perm).index(axis) for axis in range(len(perm))]
        suffix = "nchw" if back == TO_NCHW else "".join(map(str, back))
        given = self.type(out)
        # The type of an operator's own order; only a quantization needs it before types are inferred.
        quant = given.quant if given.quant is None or given.quant.per_tensor else None
        inner = TensorType(given.dtype, tuple(given.shape[p] for p in back), quant)
        activation = self._activation(op)
        made = self.between(op, suffix, inner)
        first = self.between(op, f"{suffix}/linear", inner) if activation is not None else made
        self.append(kind, inputs, [first], attrs, op)
        if activation is not None:
            self._activate(activation, first, made)
        self.append("Transpose", [made], [self.declare(out)], {"perm": list(perm)})
        self._moved[self.named(out), tuple(back)] = made
        return self.named(out)

    def _activation(self, op: TfliteOperator) -> tuple[float, float] | None:
        """(lowest, highest) value the fused activation lets through, None when there is none.
        Source: TensorFlow Lite schema, ActivationFunctionType."""
        kind = str(op.options.get("fused_activation_function", "NONE"))
        if kind not in ACTIVATIONS:
            raise Refused("fused_activation_function", f"expected one of {', '.join(ACTIVATIONS)}, found {kind}")
        return ACTIVATIONS[kind]

    def _activate(self, bounds: tuple[float, float], source: str, out: str) -> None:
        low, high = bounds
        if bounds == ACTIVATIONS["RELU"]:
            self.append("Relu", [source], [out])
            return
        dtype = self.graph.types[out].dtype
        self.append("Clip", [source, self.scalar("low", low, dtype), self.scalar("high", high, dtype)], [out])

    def step(self, kind: str, inputs: Sequence[str], attrs: dict[str, Attr] | None = None, of: str = "") -> str:
        """Adds `kind` with one output of its own, called after the tensor `of`, whose type follows from its inputs.
        Returns that output."""
        base = (of or inputs[0]).removeprefix(self.scope)
        made = self.fresh(f"{base}/{kind.lower()}")
        self.append(kind, inputs, [made], attrs)
        return made

    def between(self, op: TfliteOperator, what: str, kind: TensorType | None = None, of: int | None = None) -> str:
        """A fresh tensor inside the rewriting of `op`: '<output>/<what>', of type `kind` if that is known."""
        base = self.named(op.outputs[0] if of is None else of).removeprefix(self.scope)
        name = self.fresh(f"{base}/{what}")
        if kind is not None:
            self.graph.types[name] = kind
        return name

    def append(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attrs: dict[str, Attr] | None = None,
        op: TfliteOperator | None = None,
    ) -> Node:
        """Adds a node under a name of its own. Raises Refused for an operator edgert lacks, or inputs it has not."""
        if kind not in OPERATORS:
            raise Refused(kind, f"edgert has no operator {kind}")
        arguments = list(inputs)
        while arguments and not arguments[-1]:
            arguments.pop()
        if len(arguments) < OPERATORS[kind].min_inputs:
            raise Refused("inputs", f"expected at least {OPERATORS[kind].min_inputs} of {kind}, found {len(arguments)}")
        base = self.scope + (f"{op.op}_{op.index}" if op is not None else f"{kind}_{outputs[0]}")
        node = Node(kind, tuple(arguments), tuple(outputs), dict(attrs or {}), self._node_names.fresh(base))
        self.graph.nodes.append(node)
        return node

    # ---- the ends of the graph
    def take_inputs(self, names: dict[int, str]) -> None:
        """Declares the inputs of the graph, called `names` where they have one; `problems` has those of a type that
        the IR lacks. An int8 input stays int8: a node makes the uint8 tensor of it that operators read, exactly."""
        for index in self.source.inputs:
            name = self.fresh(names.get(index) or self.tensor(index).name or f"input_{index}")
            self._names[index] = name
            try:
                self.graph.types[name] = self._outer_type(index)
            except Refused as refusal:
                self.problems.append(Problem(name, "input", 0, "", refusal.advice))
                continue
            self.graph.inputs.append(name)
            if self.is_raised(index):
                self._names[index] = self._requantize(name, self.fresh(f"{name.removeprefix(self.scope)}/uint8"))
                self.graph.types[self._names[index]] = self.type(index)

    def reserve_outputs(self, names: dict[int, str]) -> None:
        """Gives the outputs of the graph their `names`, before any other tensor can take them."""
        for index in dict.fromkeys(self.source.outputs):
            if index in self._names:
                continue
            name = self.fresh(names.get(index) or self.tensor(index).name or f"output_{index}")
            self._ends[index] = name
            if not self.is_raised(index) and self.value(index) is None:
                self._names[index] = name

    def give_outputs(self) -> None:
        """Declares the outputs of the graph; one that is an input, a constant or a second name gets an Identity, an
        int8 one two nodes that make it of its uint8 tensor, exactly."""
        for index in self.source.outputs:
            inner = self.use(index)
            name = self._ends.get(index)
            if name is None or name in self.graph.outputs:
                name = self.fresh(f"{self.tensor(index).name or 'output'}/output")
            if name != inner:
                self.graph.types[name] = self._outer_type(index)
                if self.is_raised(index):
                    self._requantize(inner, name)
                else:
                    self.append("Identity", [inner], [name])
            self.graph.outputs.append(name)

    def _outer_type(self, index: int) -> TensorType:
        """The type of an input or output of the model: int8 where the file says so."""
        kind = self.type(index)
        if kind.quant is None or not self.is_raised(index):
            return kind
        lowered = replace(kind.quant, zero_point=kind.quant.zero_point - RAISED)
        return TensorType("int8", kind.shape, lowered)

    def _requantize(self, source: str, out: str) -> str:
        """`out`: the values of `source` with the type declared for `out`, int8 for uint8 or back. Returns `out`."""
        self.append("QLinearUnary", [source], [out], {"op": "Identity"})
        return out
