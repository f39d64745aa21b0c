"""The graph under construction: names, constants, hints and int8 tensors that are kept as uint8.
How each ONNX operator is written with it is in the `normalize_*` modules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgert.converters.names import Names
from edgert.converters.onnx.hints import Hint
from edgert.converters.onnx.reader import OnnxModel, OnnxNode
from edgert.graph.ir import Array, Attr, Graph, Node, Quantization, TensorType
from edgert.graph.operators import OPERATORS
from edgert.kernels_cpu.reference.narrow import INTEGERS

MOVES = {
    "RoundTo", "QuantizeLinear", "DequantizeLinear", "Abs", "Neg", "Relu", "Max", "Min", "Clip", "Where", "Gather",
    "GatherElements", "GatherND", "ScatterElements", "ScatterND", "Compress", "TopK", "Unique", "Trilu", "OneHot",
    "GlobalMaxPool", "ReduceMax", "ReduceMin", "ReverseSequence", "EyeLike", "Floor", "Ceil", "Round", "Sign",
    "If", "Loop", "Scan",
}  # fmt: skip
"""Operators besides those of `LAYOUT` that make values of the type of their inputs, or see to that themselves."""

DEFAULT_ADVICE = "export the model with other operators, or end it before this node"

LAYOUT: dict[str, tuple[int, ...] | None] = {
    "MaxPool": (0,), "Reshape": (0,), "Flatten": (0,), "Transpose": (0,), "Pad": (0, 2), "Slice": (0,),
    "Concat": None, "Split": (0,), "Squeeze": (0,), "Unsqueeze": (0,), "Resize": (0,), "Gather": (0,),
    "Expand": (0,), "Tile": (0,), "DepthToSpace": (0,), "SpaceToDepth": (0,), "Identity": (0,),
}  # fmt: skip
"""Operators that move or choose values, and the inputs that hold them (None: all). They commute with
value + 128 and keep the quantization of what they move."""


def raised(quant: Quantization) -> Quantization:
    """The quantization of int8 values that are stored 128 higher."""
    return Quantization(quant.scale, quant.zero_point + np.int32(128), quant.axis)


class Refused(Exception):
    """A node edgert cannot take: the attribute at fault ('' for none) and what to do."""

    def __init__(self, attribute: str, advice: str) -> None:
        super().__init__(advice)
        self.attribute, self.advice = attribute, advice


class Builder:
    """Collects IR nodes for one model.

    Tensors keep their ONNX names where they can. An int8 activation is stored as uint8, value + 128: it is
    then in `shifted`, and whoever needs the int8 values gets them through two exact nodes. sequences: ONNX
    sequence -> the tensors it is made of; listed: how many those are in all. scope: what the names of a body's
    tensors begin with, '' for the model itself; depth: how many bodies it is in.
    """

    def __init__(self, model: OnnxModel, hints: dict[str, Hint], scope: str = "", depth: int = 0) -> None:
        self.model = model
        self.scope, self.depth = scope, depth
        self.hints = hints
        self.graph = Graph(model.name)
        self.values: dict[str, Array] = dict(model.constants)
        self.unreadable: dict[str, str] = dict(model.unreadable)
        self.notes: list[str] = []
        self.shifted: set[str] = set()
        self.sequences: dict[str, list[str]] = {}
        self.listed = 0
        self.output_names = {value.name for value in model.outputs}
        self.wanted = {name for node in model.nodes for name in (*node.inputs, *node.captured)} | self.output_names
        self._alias: dict[str, str] = {}
        self._plain: dict[str, str] = {}
        self._stored: dict[tuple[object, ...], str] = {}
        self._node_names = Names()
        taken = {value.name for value in (*model.inputs, *model.outputs)} | self.values.keys()
        self._tensor_names = Names(taken | {name for node in model.nodes for name in node.outputs})

    # What is known of a tensor

    def value(self, name: str) -> Array | None:
        """The value of an ONNX constant; None for anything computed, '' included."""
        if name in self.unreadable:
            raise Refused("", f"constant {name!r} cannot be read: {self.unreadable[name]}")
        return self.values.get(name)

    def hint(self, name: str) -> Hint:
        """dtype and shape of a tensor as ONNX has it (int8 where the IR has uint8)."""
        if name in self.values:
            array = self.values[name]
            return Hint(array.dtype.name, tuple(array.shape), self.model.narrow.get(name, ""))
        return self.hints.get(name, Hint())

    def dtype(self, name: str, default: str = "float32") -> str:
        return self.hint(name).dtype or default

    def rank(self, name: str) -> int | None:
        shape = self.hint(name).shape
        return None if shape is None else len(shape)

    def fresh(self, name: str) -> str:
        """`name`, or `name_1`, ... : one that no tensor has."""
        return self._tensor_names.fresh(name)

    # Inputs of new nodes

    def data(self, name: str) -> str:
        """The IR tensor for ONNX tensor `name`; an int8 activation may come as uint8 (see `shifted`)."""
        if not name:
            return ""
        value = self.value(name)
        if value is not None:
            return self.store(name, value)
        return self._alias.get(name, name)

    def use(self, name: str) -> str:
        """The IR tensor with exactly the values of ONNX tensor `name`."""
        tensor = self.data(name)
        if tensor not in self.shifted:
            return tensor
        if tensor not in self._plain:
            self._plain[tensor] = self._lowered(tensor, self.fresh(f"{name}_int8"))
        return self._plain[tensor]

    def uint8(self, name: str, quant: Quantization) -> str:
        """ONNX activation `name` as uint8; int8 values, whose quantization is `quant`, are offset by 128."""
        tensor = self.data(name)
        if tensor in self.shifted or self.dtype(name, "uint8") != "int8":
            return tensor
        self.quantize(tensor, "int8", quant, name)
        moved = self.fresh(f"{name}_uint8")
        self._requantize(tensor, moved, "uint8", raised(quant))
        self._plain[moved], self._alias[name] = tensor, moved
        self.shifted.add(moved)
        return moved

    def store(self, name: str, value: Array, quant: Quantization | None = None) -> str:
        """Adds a constant to the graph, named `name` if that is free. The same one again is shared."""
        tag = () if quant is None else (quant.scale.tobytes(), quant.zero_point.tobytes(), quant.axis)
        # A stored array stays alive, so its id is its own; small ones are compared by value.
        content: object = value.tobytes() if value.size <= 64 else id(value)
        key = (name, value.dtype.name, value.shape, content, tag)
        if key not in self._stored:
            free = name in self.values and name not in self.graph.constants and name not in self.output_names
            tensor = name if free else self.fresh(name)
            self._stored[key] = tensor
            self.graph.constants[tensor] = value
            self.graph.types[tensor] = TensorType(value.dtype.name, tuple(value.shape), quant)
        return self._stored[key]

    def ints(self, node: OnnxNode, what: str, values: Iterable[int]) -> str:
        """An int64 vector constant, for axes and sizes that were attributes."""
        return self.store(f"{node.name}_{what}", np.array(list(values), np.int64))

    def scalar(self, node: OnnxNode, what: str, value: float, dtype: str) -> str:
        return self.store(f"{node.name}_{what}", np.array(value, dtype))

    def _lowered(self, tensor: str, out: str) -> str:
        """Makes int8 tensor `out` of the shifted `tensor`. Returns `out`."""
        quant = self.graph.types[tensor].quant
        if quant is None:
            raise Refused("", f"the quantization of {tensor!r} is unknown where its int8 values are needed")
        return self._requantize(tensor, out, "int8", Quantization(quant.scale, quant.zero_point - 128, quant.axis))

    def _requantize(self, tensor: str, out: str, dtype: str, quant: Quantization) -> str:
        """`out`: the same real values with another zero point and dtype, exactly."""
        shape = self.graph.types[tensor].shape
        real = self.fresh(f"{out}_real")
        self._append("DequantizeLinear", [tensor], [real], {}, real)
        self._append("QuantizeLinear", [real], [out], {}, out)
        self.graph.types[real] = TensorType("float32", shape)
        self.graph.types[out] = TensorType(dtype, shape, quant)
        return out

    # Outputs

    def emit(
        self,
        node: OnnxNode,
        op: str,
        inputs: Sequence[str],
        attrs: dict[str, Attr] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> str:
        """Adds an IR node that makes the outputs of `node`, or the fresh tensors `outputs`.

        inputs are IR names. Returns the first output. For `LAYOUT` operators whose data is shifted or
        quantized the outputs are so too. What ONNX declares as a narrow float is rounded to it.
        """
        if op not in OPERATORS:
            raise Refused("", f"edgert has no operator {op}; {DEFAULT_ADVICE}")
        names = list(node.outputs if outputs is None else outputs)
        names = [name if outputs is not None or name in self.wanted else "" for name in names]
        names[0] = names[0] or node.outputs[0]
        arguments = list(inputs)
        while arguments and not arguments[-1]:
            arguments.pop()
        while len(names) > 1 and not names[-1]:
            names.pop()
        carried = self._carry(node, op, arguments)
        moved = bool(arguments) and arguments[0] in self.shifted and op in LAYOUT
        tensors = [
            self._define(name, carried if i == 0 or op == "Split" else None, moved) if name else ""
            for i, name in enumerate(names)
        ]
        narrow = {} if op in LAYOUT or op in MOVES else {t: k for t in tensors if (k := self._narrow_float(t))}
        made = [self.fresh(f"{tensor}_unrounded") if tensor in narrow else tensor for tensor in tensors]
        self._append(op, arguments, made, dict(attrs or {}), node.name)
        for wide, tensor in zip(made, tensors, strict=True):
            if wide != tensor:
                self._append("RoundTo", [wide], [tensor], {"to": narrow[tensor], "saturate": 0}, tensor)
        return tensors[0]

    def _narrow_float(self, tensor: str) -> str:
        """The narrow float type that ONNX declares for `tensor`, '' for others."""
        narrow = self.hints.get(tensor, Hint()).narrow
        return "" if narrow in INTEGERS else narrow

    def _carry(self, node: OnnxNode, op: str, inputs: list[str]) -> TensorType | None:
        """The quantized type that a LAYOUT operator hands on, None if none. Completes Pad's value."""
        if op not in LAYOUT or not inputs:
            return None
        if op == "Pad" and str(node.attrs.get("mode", "constant")) == "constant":
            self._stored_pad(node, inputs)
        where = LAYOUT[op]
        positions = [i for i in (range(len(inputs)) if where is None else where) if i < len(inputs)]
        if not any(inputs[i] in self.shifted for i in positions):
            moved = positions[:1] if op == "Pad" else positions
            kinds = [self.graph.types.get(inputs[i]) for i in moved]
            first = kinds[0] if kinds else None
            quants = [kind.quant if kind else None for kind in kinds]
            if first is None or first.quant is None or any(q != first.quant for q in quants):
                return None
            return first
        for i in positions:
            if inputs[i] in self.shifted or not inputs[i]:
                continue
            value = self.graph.constants.get(inputs[i])
            if value is None:
                inputs[i] = self.uint8(inputs[i], self._carried_quant(inputs, positions))
            else:
                quant = None if op == "Pad" else raised(self._carried_quant(inputs, positions))
                stored = (value.astype(np.int16) + 128).astype(np.uint8)
                inputs[i] = self.store(f"{inputs[i]}_uint8", stored, quant)
        kind = self.graph.types.get(inputs[0])
        return kind if kind is not None and kind.quant is not None else TensorType("uint8", ())

    def _carried_quant(self, inputs: list[str], positions: list[int]) -> Quantization:
        """The int8 quantization of the shifted one among the inputs."""
        for i in positions:
            kind = self.graph.types.get(inputs[i])
            if inputs[i] in self.shifted and kind is not None and kind.quant is not None:
                return Quantization(kind.quant.scale, kind.quant.zero_point - 128, kind.quant.axis)
        raise Refused("", "the quantization of its inputs is unknown")

    def _stored_pad(self, node: OnnxNode, inputs: list[str]) -> None:
        """Says what an 8-bit Pad means without a value: the stored 0, where the IR means the real 0."""
        dtype = self.dtype(node.inputs[0])
        inputs.extend([""] * (3 - len(inputs)))
        if not inputs[2] and dtype in ("int8", "uint8"):
            inputs[2] = self.store("pad_value", np.zeros((), dtype))
        while not inputs[-1]:
            inputs.pop()

    def _define(self, name: str, carried: TensorType | None, shifted: bool) -> str:
        hint = self.hints.get(name, Hint())
        if carried is None:
            if hint.type is not None:  # a quantized output has its type already
                self.graph.types.setdefault(name, hint.type)
            return name
        tensor = self.define_shifted(name) if shifted else name
        if hint.shape is not None or carried.quant is not None:
            self.graph.types[tensor] = TensorType("uint8", hint.shape or (), carried.quant)
        return tensor

    def define_shifted(self, name: str) -> str:
        """Declares that ONNX int8 tensor `name` is made as uint8; returns the IR name to make.

        A graph output keeps its name for the int8 values, which `finish` restores.
        """
        tensor = self.fresh(f"{name}_uint8") if name in self.output_names else name
        self._alias[name] = tensor
        self.shifted.add(tensor)
        return tensor

    def same(self, node: OnnxNode) -> None:
        """Makes the first output of `node` another name for its first input."""
        source, out = node.inputs[0], node.outputs[0]
        value = self.value(source)
        if value is not None:
            self.values[out] = value
        elif out in self.output_names:
            self.emit(node, "Identity", [self.data(source)])
        else:
            self._alias[out] = self.data(source)
            self.hints.setdefault(out, self.hint(source))

    def between(self, node: OnnxNode, what: str, like: Hint | None = None) -> str:
        """A fresh tensor inside the rewriting of `node`, of type `like` if that is known."""
        name = self.fresh(f"{node.outputs[0] or node.name}_{what}")
        if like is not None:
            self.hints[name] = like
        return name

    def quantize(self, tensor: str, dtype: str, quant: Quantization, shape_of: str = "") -> None:
        """Gives IR tensor `tensor` its quantization. Raises Refused when it has a different one.

        A tensor whose rank nobody knows has the shape () until shapes are inferred.
        """
        known = self.graph.types.get(tensor)
        if known is not None and known.quant is not None:
            if known.quant != quant:
                raise Refused("", f"tensor {tensor!r} is read with another scale or zero point than written")
            return
        shape = known.shape if known is not None else self.hint(shape_of).shape or ()
        self.graph.types[tensor] = TensorType(dtype, shape, quant)

    def _append(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], attrs: dict[str, Attr], name: str
    ) -> None:
        self.graph.nodes.append(Node(op, tuple(inputs), tuple(outputs), attrs, self._node_names.fresh(name)))

    def finish(self) -> Graph:
        """Completes the outputs and carries quantization through layout operators both ways."""
        for value in self.model.inputs:
            known = self.graph.types.get(value.name)
            quant = known.quant if known is not None else None
            self.graph.types[value.name] = TensorType(value.dtype, value.shape or (), quant)
            self.graph.inputs.append(value.name)
        for value in self.model.outputs:
            self._finish_output(value.name)
            if value.name not in self.graph.types:
                self.graph.types[value.name] = TensorType(value.dtype, value.shape or ())
            if value.name not in self.graph.outputs:
                self.graph.outputs.append(value.name)
        types = self.graph.types
        for node in reversed(self.graph.nodes):  # a DequantizeLinear further down knows what a pool moved
            kind = types.get(node.outputs[0])
            if node.op in LAYOUT and kind is not None and kind.quant is not None:
                for i in range(len(node.inputs)) if LAYOUT[node.op] is None else (0,):
                    source = types.get(node.inputs[i])
                    if source is not None and source.quant is None and source.dtype == "uint8":
                        types[node.inputs[i]] = TensorType("uint8", source.shape, kind.quant)
        return self.graph

    def _finish_output(self, name: str) -> None:
        tensor = self._alias.get(name, name)
        if name in self.values:
            constant = self.store(self.fresh(f"{name}_value"), self.values[name])
            self._append("Identity", [constant], [name], {}, name)
            kind = self.graph.types[constant]
            self.graph.types[name] = TensorType(kind.dtype, kind.shape)
        elif tensor in self.shifted:
            self._lowered(tensor, name)
        elif tensor != name:
            self._append("Identity", [tensor], [name], {}, name)
