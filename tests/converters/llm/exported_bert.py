"""A BERT encoder as exporters write it to ONNX: batches, masks, shape arithmetic. Weights go by Hugging Face names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Exporter:
    """Writes nodes one by one; each method returns the name of what it made."""

    def __init__(
        self, weights: Mapping[str, np.ndarray], heads: int, *, int8: bool = False, fused: bool = False,
        old: bool = False, pooled: bool = False,
    ) -> None:  # fmt: skip
        """int8: see `matrix`. fused: query, key and value are one product. old: layer norms are written out.
        pooled: the first output is the mean of a text."""
        self.weights, self.heads, self.int8, self.fused, self.old = weights, heads, int8, fused, old
        self.pooled = pooled
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attrs: object) -> str:
        names = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, names[0], **attrs))
        return names[0]

    def const(self, value: object, dtype: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def matrix(self, value: np.ndarray, axis: int) -> str:
        """float32, or int8 with a scale for each index of `axis`, cast and multiplied when the model runs."""
        if not self.int8:
            return self.const(value)
        scale = np.abs(value).max(axis=1 - axis, keepdims=True).astype(np.float32) / 127
        numbers = self.const(np.rint(value / scale), np.int8)
        return self.op("Mul", self.op("Cast", numbers, to=TensorProto.FLOAT), self.const(scale))

    def dense(self, x: str, *names: str) -> str:
        """One linear layer, or several side by side."""
        weight = np.concatenate([self.weights[f"{name}.weight"] for name in names]).T
        bias = np.concatenate([self.weights[f"{name}.bias"] for name in names])
        return self.op("Add", self.op("MatMul", x, self.matrix(weight, 1)), self.const(bias))

    def norm(self, x: str, name: str) -> str:
        weight, bias = self.const(self.weights[f"{name}.weight"]), self.const(self.weights[f"{name}.bias"])
        if not self.old:
            return self.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=1e-12)
        centred = self.op("Sub", x, self.op("ReduceMean", x, axes=[-1]))
        variance = self.op("ReduceMean", self.op("Pow", centred, self.const(2.0)), axes=[-1])
        root = self.op("Sqrt", self.op("Add", variance, self.const(1e-12)))
        return self.op("Add", self.op("Mul", self.op("Div", centred, root), weight), bias)

    def shaped(self, x: str, like: str, *sizes: int) -> str:
        """`x` reshaped to [batch, sequence of `like`, *sizes]."""
        lead = self.op("Slice", self.op("Shape", like), self.const([0], np.int64), self.const([2], np.int64))
        return self.op("Reshape", x, self.op("Concat", lead, self.const(sizes, np.int64), axis=0))

    def embeddings(self) -> str:
        size = self.op("Slice", self.op("Shape", "input_ids"), self.const([1], np.int64), self.const([2], np.int64))
        table = self.weights["embeddings.position_embeddings.weight"]
        places = self.const(np.arange(len(table))[None], np.int64)
        places = self.op("Slice", places, self.const([0], np.int64), size, self.const([1], np.int64))
        words = self.matrix(self.weights["embeddings.word_embeddings.weight"], 0)
        x = self.op("Gather", words, "input_ids")
        kinds = self.const(self.weights["embeddings.token_type_embeddings.weight"])
        x = self.op("Add", x, self.op("Gather", kinds, "token_type_ids"))
        x = self.op("Add", x, self.op("Gather", self.const(table), places))
        return self.norm(x, "embeddings.LayerNorm")

    def mask(self) -> str:
        """[batch, 1, 1, sequence]: 0 where there is text, else the lowest float."""
        mask = self.op("Unsqueeze", "attention_mask", self.const([1, 2], np.int64))
        mask = self.op("Sub", self.const(1.0), self.op("Cast", mask, to=TensorProto.FLOAT))
        return self.op("Mul", mask, self.const(np.finfo(np.float32).min))

    def attention(self, x: str, prefix: str, mask: str) -> str:
        depth = self.weights[f"{prefix}.query.weight"].shape[0] // self.heads
        names = [f"{prefix}.{part}" for part in ("query", "key", "value")]
        if self.fused:
            packed = self.shaped(self.dense(x, *names), x, 3, self.heads, depth)
            parts = [
                self.op("Squeeze", self.op("Gather", packed, self.const([i], np.int64), axis=2),
                        self.const([2], np.int64)) for i in range(3)
            ]  # fmt: skip
        else:
            parts = [self.shaped(self.dense(x, name), x, self.heads, depth) for name in names]
        query, value = (self.op("Transpose", part, perm=[0, 2, 1, 3]) for part in parts[::2])
        key = self.op("Transpose", parts[1], perm=[0, 2, 3, 1])
        scores = self.op("Div", self.op("MatMul", query, key), self.const(depth**0.5))
        probabilities = self.op("Softmax", self.op("Add", scores, mask), axis=-1)
        y = self.op("Transpose", self.op("MatMul", probabilities, value), perm=[0, 2, 1, 3])
        return self.shaped(y, x, self.heads * depth)

    def gelu(self, x: str) -> str:
        erf = self.op("Erf", self.op("Div", x, self.const(2**0.5)))
        return self.op("Mul", self.op("Mul", x, self.op("Add", erf, self.const(1.0))), self.const(0.5))

    def encoder(self, layers: int) -> str:
        x, mask = self.embeddings(), self.mask()
        for i in range(layers):
            prefix = f"encoder.layer.{i}"
            y = self.dense(self.attention(x, f"{prefix}.attention.self", mask), f"{prefix}.attention.output.dense")
            x = self.norm(self.op("Add", y, x), f"{prefix}.attention.output.LayerNorm")
            y = self.dense(self.gelu(self.dense(x, f"{prefix}.intermediate.dense")), f"{prefix}.output.dense")
            x = self.norm(self.op("Add", x, y), f"{prefix}.output.LayerNorm")
        return x

    def save(
        self, path: Path, last: str, width: int, shape: tuple[int | str, ...] = ("batch", "sequence"),
        inputs: tuple[str, ...] = INPUTS,
    ) -> Path:  # fmt: skip
        self.nodes.append(helper.make_node("Identity", [last], ["last_hidden_state"], "last"))
        outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, (*shape, width))]
        if self.pooled:
            mask = self.op("Cast", self.op("Unsqueeze", "attention_mask", self.const([2], np.int64)), to=1)
            mean = self.op("ReduceMean", self.op("Mul", "last_hidden_state", mask), axes=[1], keepdims=0)
            outputs.insert(0, helper.make_tensor_value_info(mean, TensorProto.FLOAT, (shape[0], width)))
        graph = helper.make_graph(
            self.nodes, "bert",
            [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in inputs],
            outputs, self.constants,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path


def export_bert(
    path: Path, weights: Mapping[str, np.ndarray], shape: tuple[int | str, ...] = ("batch", "sequence"), **style: bool
) -> Path:
    """The .onnx file at `path`, of two layers: its output is last_hidden_state [batch, sequence, width]."""
    exporter = Exporter(weights, 4, **style)
    return exporter.save(path, exporter.encoder(2), weights["embeddings.LayerNorm.weight"].shape[0], shape)
