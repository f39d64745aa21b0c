"""What `onnx` can infer about the tensors of a model before it is normalized: dtypes and shapes.
These are hints for the importer; the types that count are inferred again by `edgert.graph.infer`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgert.converters.onnx.inference_process import PER_NODE, PROCESS
from edgert.converters.onnx.reader import MICROSOFT, OnnxModel, dims_of
from edgert.converters.onnx.tensors import NARROW_TYPES, type_name
from edgert.errors import FormatError, UnsupportedError
from edgert.graph.ir import Dim, TensorType

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


SECONDS = 60.0
"""Spent on one model: each body and each function written out is a question of its own, which may take ten."""


@dataclass(frozen=True)
class Hint:
    """dtype '' and shape None where unknown. narrow: the element type whose values the dtype holds, '' if its own."""

    dtype: str = ""
    shape: tuple[Dim, ...] | None = None
    narrow: str = ""

    @property
    def type(self) -> TensorType | None:
        """The full type, when both are known."""
        return TensorType(self.dtype, self.shape) if self.dtype and self.shape is not None else None


_SAME_SHAPE: dict[str, tuple[str, tuple[int, ...], tuple[str, ...]]] = {
    "QLinearAdd": ("Add", (0, 3), ()),
    "QLinearMul": ("Mul", (0, 3), ()),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,), ()),
    "QLinearAveragePool": (
        "AveragePool", (0,),
        ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"),
    ),
    "QGemm": ("Gemm", (0, 3), ("transA", "transB")),
    "FusedGemm": ("Gemm", (0, 1, 2), ("transA", "transB")),
    "FusedConv": (
        "Conv", (0, 1), ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"),
    ),
    **{
        op: ("Identity", (0,), ())
        for op in (
            "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "Gelu", "FastGelu", "QuickGelu",
            "BiasGelu", "SkipLayerNormalization",
        )
    },
}  # fmt: skip
"""com.microsoft operator -> (ONNX operator of the same output shape, which inputs, which attributes):
`onnx` knows nothing of the domain and would lose every shape downstream."""


def infer_hints(model: OnnxModel) -> dict[str, Hint]:
    """Tensor name -> what is known of it. Never fails: a model `onnx` cannot infer has fewer hints."""
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(model.skeleton)
    for node in proto.graph.node:
        if node.domain == MICROSOFT:
            _substitute(node)
    return infer_values(proto, model)


def infer_values(proto: ModelProto, model: OnnxModel) -> dict[str, Hint]:
    """The hints `onnx.shape_inference` gives for every tensor of `proto`, a part of `model`; the declared types where
    it fails, or where other parts took too long already."""
    allowed = SECONDS + PER_NODE * len(model.skeleton.graph.node)
    if model.waited[0] < allowed:
        start = time.monotonic()
        proto = PROCESS.infer(proto) or proto
        model.waited[0] += time.monotonic() - start
    hints: dict[str, Hint] = {}
    for info in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        if info.type.HasField("tensor_type"):
            hints[info.name] = _hint(info.name, info.type.tensor_type)
    return hints


def _hint(name: str, kind: Any) -> Hint:
    try:
        dtype = type_name(kind.elem_type) if kind.elem_type else ""
        shape = dims_of(name, kind.shape.dim) if kind.HasField("shape") else None
        return Hint(dtype, shape, NARROW_TYPES.get(kind.elem_type, ""))
    except (UnsupportedError, FormatError):
        return Hint()


def _substitute(node: NodeProto) -> None:
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        node.domain = ""
        return
    kept: tuple[str, ...]
    if node.op_type == "QLinearConcat":
        op, picked, kept = "Concat", tuple(range(2, len(node.input), 3)), ("axis",)
    elif node.op_type in _SAME_SHAPE:
        op, picked, kept = _SAME_SHAPE[node.op_type]
    else:
        return
    inputs = [node.input[i] for i in picked if i < len(node.input)]
    attributes = [a for a in node.attribute if a.name in kept]
    copies = [type(a).FromString(a.SerializeToString()) for a in attributes]
    node.domain, node.op_type = "", op
    del node.input[:], node.attribute[:], node.output[1:]
    node.input.extend(inputs)
    node.attribute.extend(copies)
