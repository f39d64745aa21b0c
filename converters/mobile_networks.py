"""Writes two well-known networks as ONNX from their PyTorch weights: EfficientNet-Lite0 and MobileNetV2.

Both are a stem, a row of inverted residual blocks (arXiv:1801.04381, table 1) and a head. Reading the
weights is `torch_legacy.py`; the folding of batch normalization is left to the passes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgert.converters.onnx.metadata import KEY, info_to_text
from edgert.converters.torch_legacy import read_state
from edgert.errors import FormatError
from edgert.format import ModelInfo, Preprocessing
from edgert.graph.ir import Array

OPSET = 17
IR_VERSION = 8  # what readers of opset 17 know
SIDE = 224
STEM_CHANNELS = 32
FEATURES = 1280


class Stage(NamedTuple):
    """`repeats` blocks with `outputs` channels; the first has the stride."""

    kernel: int
    stride: int
    expansion: int
    outputs: int
    repeats: int


# arXiv:1905.11946, table 1, without squeeze-and-excitation: the Lite variant, with ReLU6.
EFFICIENTNET_LITE0 = [
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
]
# arXiv:1801.04381, table 2.
MOBILENET_V2 = [
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(3, 2, 6, 32, 3),
    Stage(3, 2, 6, 64, 4),
    Stage(3, 1, 6, 96, 3),
    Stage(3, 2, 6, 160, 3),
    Stage(3, 1, 6, 320, 1),
]

Names = tuple[str, str]
"""Of a convolution: the name of its weight, and the prefix of its batch normalization."""


class _Writer:
    """Appends nodes. Every weight is checked against the shape that the architecture asks for."""

    def __init__(self, weights: Mapping[str, Array], file: Path, epsilon: float, same: bool) -> None:
        self.weights, self.file, self.epsilon, self.same = weights, file, epsilon, same
        self.nodes: list[onnx.NodeProto] = []
        self.constants = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in CLIP.items()]

    def constant(self, name: str, *shape: int) -> str:
        """Weight `name` of `shape` as an initializer; its name."""
        found = self.weights.get(name)
        if found is None or found.shape != shape:
            what = "nothing" if found is None else f"shape {found.shape}"
            raise FormatError(self.file, None, f"weight {name} of shape {shape}", what)
        self.constants.append(numpy_helper.from_array(found.astype(np.float32), name))
        return name

    def node(self, operator: str, output: str, inputs: list[str], **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def conv(
        self, x: str, names: Names, inputs: int, outputs: int, kernel: int, stride: int = 1,
        groups: int = 1, activation: bool = True,
    ) -> str:  # fmt: skip
        """Convolution, batch normalization and, if asked for, ReLU6."""
        weight, norm = names
        padding = {"auto_pad": "SAME_UPPER"} if self.same else {"pads": [kernel // 2] * 4}
        w = self.constant(weight, outputs, inputs // groups, kernel, kernel)
        y = self.node(
            "Conv", f"{norm}.conv", [x, w],
            kernel_shape=[kernel] * 2, strides=[stride] * 2, group=groups, **padding,
        )  # fmt: skip
        roles = ("weight", "bias", "running_mean", "running_var")
        statistics = [self.constant(f"{norm}.{role}", outputs) for role in roles]
        y = self.node("BatchNormalization", f"{norm}.norm", [y, *statistics], epsilon=self.epsilon)
        return self.node("Clip", f"{norm}.relu6", [y, *CLIP]) if activation else y

    def body(self, stages: list[Stage], stem: Names, block: Callable[[int, bool], list[Names]], head: Names) -> str:
        """Stem, blocks and head up to the pooled features. `block` gives the names of the convolutions of
        block number i: widening (unless it has no expansion), depthwise, narrowing."""
        x = self.conv("input", stem, 3, STEM_CHANNELS, 3, 2)
        channels, index = STEM_CHANNELS, 0
        for stage in stages:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                hidden = channels * stage.expansion
                names = block(index, stage.expansion != 1)
                y = x if stage.expansion == 1 else self.conv(x, names[0], channels, hidden, 1)
                y = self.conv(y, names[-2], hidden, hidden, stage.kernel, stride, groups=hidden)
                y = self.conv(y, names[-1], hidden, stage.outputs, 1, activation=False)
                residual = stride == 1 and channels == stage.outputs
                x = self.node("Add", f"block{index}.add", [x, y]) if residual else y
                channels, index = stage.outputs, index + 1
        x = self.conv(x, head, channels, FEATURES, 1)
        x = self.node("GlobalAveragePool", "pool", [x])
        return self.node("Flatten", "features", [x], axis=1)

    def save(self, info: ModelInfo, output: str, width: int, path: Path) -> None:
        graph = helper.make_graph(
            self.nodes,
            info.name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", width])],
            self.constants,
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], producer_name="edgert")
        helper.set_model_props(model, {KEY: info_to_text(info)})
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        onnx.save(model, path)


CLIP = {"zero": 0.0, "six": 6.0}


def write_efficientnet_lite0(weights: Path, labels: Path, output: Path) -> None:
    """Checkpoint `weights` and JSON list `labels` of 1000 names -> ONNX file `output`.

    float32 input [N, 3, 224, 224] = (pixel - 127) / 128 -> logits [N, 1000].
    Raises FormatError when a weight or the labels are not as expected.
    """
    names = json.loads(labels.read_text("utf-8"))
    if not isinstance(names, list) or len(names) != 1000 or not all(isinstance(n, str) for n in names):
        raise FormatError(labels, None, "a list of 1000 names", type(names).__name__)
    writer = _Writer(read_state(weights), weights, epsilon=1e-3, same=True)

    def block(i: int, widens: bool) -> list[Names]:
        p = f"_blocks.{i}."
        convolutions = [(p + "_depthwise_conv.weight", p + "_bn1"), (p + "_project_conv.weight", p + "_bn2")]
        return [(p + "_expand_conv.weight", p + "_bn0"), *convolutions] if widens else convolutions

    features = writer.body(EFFICIENTNET_LITE0, ("_conv_stem.weight", "_bn0"), block, ("_conv_head.weight", "_bn1"))
    fully_connected = [writer.constant("_fc.weight", 1000, FEATURES), writer.constant("_fc.bias", 1000)]
    writer.node("Gemm", "logits", [features, *fully_connected], transB=1)
    steps = Preprocessing("input", (SIDE, SIDE), 256, "bicubic", mean=[127.0], scale=[1 / 128])
    info = ModelInfo("efficientnet-lite0", "image-classification", names, steps, "not stated")
    writer.save(info, "logits", 1000, output)


def write_mobilenet_v2_features(weights: Path, output: Path) -> None:
    """Checkpoint `weights` -> ONNX file `output`: RGB, normalized as ImageNet models are -> [N, 1280].

    Raises FormatError when a weight is not as expected.
    """
    writer = _Writer(read_state(weights), weights, epsilon=1e-5, same=False)

    def block(i: int, widens: bool) -> list[Names]:
        p = f"features.{i + 1}.conv."
        first = [0, 3, 6] if widens else [0, 3]
        return [(f"{p}{n}.weight", f"{p}{n + 1}") for n in first]

    writer.body(
        MOBILENET_V2,
        ("features.0.0.weight", "features.0.1"),
        block,
        ("features.18.0.weight", "features.18.1"),
    )
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    steps = Preprocessing(
        "input",
        (SIDE, SIDE),
        256,
        mean=[255 * m for m in mean],
        scale=[1 / (255 * d) for d in deviation],
    )
    writer.save(ModelInfo("mobilenetv2-features", "", [], steps, "MIT"), "features", FEATURES, output)
