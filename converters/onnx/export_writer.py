"""The ONNX model under construction: nodes, initializers, quantization parameters.
Which nodes stand for an IR operator is decided in `exporter.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgert.converters.names import Names
from edgert.converters.onnx.reader import MICROSOFT
from edgert.converters.onnx.tensors import TYPE_NUMBERS
from edgert.errors import UnsupportedError
from edgert.graph.ir import Array, Graph, Node, Quantization, TensorType

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


class Writer:
    """Collects ONNX nodes for `graph`. IR tensors keep their names; constants are written when first used."""

    def __init__(self, graph: Graph, opset: int) -> None:
        self.graph, self.opset = graph, opset
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, Array] = {}
        self._parameters: dict[tuple[bytes, bytes, str], tuple[str, str]] = {}
        self._domains: set[str] = {""}
        made = (name for node in graph.nodes for name in node.outputs)
        self.fresh = Names([*graph.inputs, *graph.constants, *graph.types, *made]).fresh

    def tensor(self, name: str) -> str:
        """The ONNX name of IR tensor `name`, as stored (quantized tensors stay integers)."""
        if name in self.graph.constants:
            self.initializers.setdefault(name, self.graph.constants[name])
        return name

    def constant(self, name: str, value: Array) -> str:
        name = self.fresh(name)
        self.initializers[name] = value
        return name

    def quant(self, name: str) -> Quantization | None:
        kind = self.graph.types.get(name)
        return None if kind is None else kind.quant

    def parameters(self, name: str) -> tuple[str, str]:
        """Names of the scale and zero point of quantized IR tensor `name`; equal ones are shared."""
        kind = self.graph.types[name]
        quant = kind.quant
        if quant is None:
            raise UnsupportedError(f"expected tensor {name!r} to be quantized, found {kind.dtype} alone")
        key = (quant.scale.tobytes(), quant.zero_point.tobytes(), kind.dtype)
        if key not in self._parameters:
            zero = quant.zero_point.astype(kind.dtype)
            self._parameters[key] = (
                self.constant(f"{name}_scale", quant.scale),
                self.constant(f"{name}_zero_point", zero),
            )
        return self._parameters[key]

    def real(self, name: str) -> str:
        """A float tensor with the real values of IR tensor `name`: its own DequantizeLinear for each reader,
        which is the pattern that runtimes recognize. Unquantized tensors and '' come back as they are."""
        if not name or self.quant(name) is None:
            return self.tensor(name) if name else ""
        out = self.fresh(f"{name}_real")
        self.dequantize(name, out)
        return out

    def dequantize(self, name: str, out: str) -> None:
        scale, zero = self.parameters(name)
        inputs = [self.tensor(name), scale] if self.graph.types[name].dtype == "int32" else [
            self.tensor(name), scale, zero,
        ]  # fmt: skip
        self.add("DequantizeLinear", inputs, [out], self._axis(name))

    def quantize(self, source: str, name: str) -> None:
        """QuantizeLinear from float tensor `source` to IR tensor `name`."""
        self.add("QuantizeLinear", [source, *self.parameters(name)], [name], self._axis(name))

    def _axis(self, name: str) -> dict[str, Any]:
        quant = self.quant(name)
        return {"axis": quant.axis} if quant is not None and quant.axis is not None else {}

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attrs: dict[str, Any] | None = None,
        domain: str = "",
    ) -> None:
        """Adds a node, held against the schema of the target opset. Raises UnsupportedError."""
        import onnx

        attrs = {key: value for key, value in (attrs or {}).items() if value != []}
        if not domain:
            try:
                schema: Any = onnx.defs.get_schema(op, self.opset, "")
            except onnx.defs.SchemaError:
                raise UnsupportedError(f"expected an operator of ONNX opset {self.opset}, found {op}") from None
            wrong = [key for key in attrs if key not in schema.attributes]
            if wrong or len(inputs) > schema.max_input:
                what = f"attribute {wrong[0]!r}" if wrong else f"{len(inputs)} inputs"
                raise UnsupportedError(
                    f"expected {op} of opset {self.opset}, found one with {what}; export for a newer opset"
                )
        self._domains.add(domain)
        arguments = list(inputs)
        while arguments and not arguments[-1]:
            arguments.pop()
        self.nodes.append(
            onnx.helper.make_node(
                op, arguments, list(outputs), self.fresh(f"{op}:{outputs[0]}"), domain=domain, **attrs
            )
        )

    def model(self) -> ModelProto:
        """The finished model. Raises UnsupportedError when it is too large for one file."""
        import onnx

        # ONNX Runtime warns of the others: an int32 bias has a zero point that DequantizeLinear does not take.
        read = {name for node in self.nodes for name in node.input} | set(self.graph.outputs)
        constants = {name: value for name, value in self.initializers.items() if name in read}
        total = sum(value.nbytes for value in constants.values())
        if total > 2**31 - 2**24:
            raise UnsupportedError(f"expected at most 2 GiB of constants for one .onnx file, found {total} bytes")
        graph = onnx.helper.make_graph(
            self.nodes,
            self.graph.name or "graph",
            [self._info(name) for name in self.graph.inputs],
            [self._info(name) for name in self.graph.outputs],
            [onnx.numpy_helper.from_array(np.asarray(v, order="C"), n) for n, v in constants.items()],
        )
        imports = [onnx.helper.make_opsetid("", self.opset)]
        if MICROSOFT in self._domains:
            imports.append(onnx.helper.make_opsetid(MICROSOFT, 1))
        model = onnx.helper.make_model(graph, opset_imports=imports, producer_name="edgert")
        model.ir_version = onnx.helper.find_min_ir_version_for(imports[:1])
        return model

    def _info(self, name: str) -> Any:
        import onnx

        kind = self.graph.types.get(name)
        if kind is None:
            raise UnsupportedError(f"expected a type for {name!r}, found none; infer shapes before exporting")
        return onnx.helper.make_tensor_value_info(name, TYPE_NUMBERS[kind.dtype], list(kind.shape))


def bounds(node: Node) -> tuple[float, float]:
    """(lowest, highest) real value that the fused activation of `node` lets through."""
    kind = node.attr_str("activation", "")
    if kind == "Relu":
        return 0.0, math.inf
    if kind == "Clip":
        return node.attr_float("clip_min", -math.inf), node.attr_float("clip_max", math.inf)
    return -math.inf, math.inf


def quantized_bounds(kind: TensorType, low: float, high: float) -> tuple[int, int]:
    """Stored values of the real bounds: clipping commutes with quantization, which is monotone."""
    limits = np.iinfo(kind.np_dtype)
    assert kind.quant is not None
    found = []
    for bound, open_end in ((low, limits.min), (high, limits.max)):
        if math.isinf(bound):
            found.append(int(open_end))
            continue
        step = np.rint(np.float32(bound) / kind.quant.scale) + kind.quant.zero_point
        found.append(int(np.clip(step, limits.min, limits.max)))
    return found[0], found[1]
