"""The networks of training/networks.py as ONNX files, and their weights back from one.

Node by node with convolution, batch normalization and activation kept apart, as trained: folding and fusing
them is the converter's work.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from data import CLASSES, LABELS, SIDE
from networks import Block
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPSET = 17

# What the converter finds in the file's metadata: how an image becomes the input, and what the outputs mean.
INFO = {
    "task": "image-classification",
    "labels": LABELS,
    "licence": "Apache-2.0",
    "preprocessing": {
        "input": "image",
        "resize": SIDE,
        "crop": [SIDE, SIDE],
        "resample": "bilinear",
        "channels": "L",
        "layout": "NCHW",
        "mean": [0.0],
        "scale": [1 / 255],
        "dtype": "float32",
    },
}


def children(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """(name, module) in the order of computation."""
    if isinstance(module, Block):
        for part in Block.PARTS:
            yield f"{name}.{part}", getattr(module, part)
    else:
        for i, child in enumerate(module.children()):
            yield f"{name}.{i}" if name else f"layer{i}", child


def tensors(module: nn.Module, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """(name in the ONNX file, tensor) of everything that was trained."""
    if isinstance(module, nn.BatchNorm2d):
        values = (module.weight, module.bias, module.running_mean, module.running_var)
        for role, tensor in zip(("scale", "bias", "mean", "var"), values, strict=True):
            assert tensor is not None
            yield f"{name}.{role}", tensor.data
    elif isinstance(module, nn.Conv2d | nn.Linear):
        yield f"{name}.weight", module.weight.data
        if module.bias is not None:
            yield f"{name}.bias", module.bias.data
    else:
        for child_name, child in children(module, name):
            yield from tensors(child, child_name)


class OnnxWriter:
    """Writes the modules as ONNX nodes, one by one."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []

    def node(self, operator: str, name: str, inputs: list[str], **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def write(self, module: nn.Module, name: str, x: str) -> str:
        """Append `module`, reading value `x`; the name of its output."""
        weights = [tensor_name for tensor_name, _ in tensors(module, name)]
        match module:
            case nn.Conv2d():
                return self.node(
                    "Conv",
                    f"{name}.conv",
                    [x, *weights],
                    kernel_shape=list(module.kernel_size),
                    strides=list(module.stride),
                    pads=list(module.padding) * 2,
                    group=module.groups,
                )
            case nn.BatchNorm2d():
                return self.node("BatchNormalization", f"{name}.norm", [x, *weights], epsilon=module.eps)
            case nn.ReLU():
                return self.node("Relu", f"{name}.relu", [x])
            case nn.AdaptiveAvgPool2d():
                return self.node("GlobalAveragePool", f"{name}.pool", [x])
            case nn.Flatten():
                return self.node("Flatten", f"{name}.flatten", [x], axis=1)
            case nn.Linear():
                return self.node("Gemm", "logits", [x, *weights], transB=1)
            case nn.Sequential() | Block():
                y = x
                for child_name, child in children(module, name):
                    y = self.write(child, child_name, y)
                return self.node("Add", f"{name}.add", [x, y]) if isinstance(module, Block) else y
        raise TypeError(f"no ONNX form for {type(module).__name__}")


def export(model: nn.Module, path: Path, name: str) -> None:
    """Writes `model` to `path`; `name` is what the file calls itself."""
    writer = OnnxWriter()
    writer.write(model, "", "image")
    graph = helper.make_graph(
        writer.nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(tensor.contiguous().numpy(), key) for key, tensor in tensors(model)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edgert")
    helper.set_model_props(proto, {"edgert.info": json.dumps({"name": name} | INFO)})
    proto.ir_version = 8  # what readers of opset 17 know
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)


def load(model: nn.Module, path: Path) -> None:
    """Fills `model` with the weights of a file that `export` wrote."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    for name, tensor in tensors(model):
        tensor.copy_(torch.from_numpy(stored[name].copy()))
