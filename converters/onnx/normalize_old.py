"""Opsets 1 to 6: every operator that changed before opset 7, rewritten in place to its form there.
What changed since is settled by the lift of each operator.

Source: ONNX Changelog.md, versions 1 to 7 of each operator.
"""

from __future__ import annotations

import numpy as np

from edgert.converters.onnx.builder import Builder, Refused
from edgert.converters.onnx.hints import Hint
from edgert.converters.onnx.normalize import older_than_7
from edgert.converters.onnx.reader import OnnxNode
from edgert.converters.onnx.tensors import TYPE_NUMBERS


@older_than_7(
    "Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor",
)  # fmt: skip
def binary(b: Builder, n: OnnxNode) -> None:
    """`broadcast` with `axis`: dimensions of the second input lie at `axis` of the first, not at the end."""
    n.attrs.pop("consumed_inputs", None)
    broadcast, axis = n.attrs.pop("broadcast", 0), n.attrs.pop("axis", None)
    if not broadcast or axis is None:
        return
    rank, inner = b.rank(n.inputs[0]), b.rank(n.inputs[1])
    if rank is None or inner is None:
        raise Refused("axis", "the rank of an input is unknown; export with opset 7 or newer")
    trailing = rank - inner - (axis + rank if axis < 0 else axis)
    if trailing < 0:
        raise Refused("axis", f"expected at most {rank - inner}, found {axis}")
    if trailing:
        n.inputs[1] = unsqueezed(b, n, n.inputs[1], inner, trailing)


@older_than_7("PRelu")
def prelu(b: Builder, n: OnnxNode) -> None:
    """A slope of one dimension has a value for each channel (axis 1); later it is broadcast as in NumPy."""
    n.attrs.pop("consumed_inputs", None)
    rank, shape = b.rank(n.inputs[0]), b.hint(n.inputs[1]).shape
    if rank is not None and rank > 2 and shape is not None and len(shape) == 1 and shape != (1,):
        n.inputs[1] = unsqueezed(b, n, n.inputs[1], 1, rank - 2)


def unsqueezed(b: Builder, n: OnnxNode, name: str, rank: int, count: int) -> str:
    """Tensor `name` of `rank` with `count` dimensions of 1 behind its own."""
    known, value = b.hint(name), b.value(name)
    like = Hint(known.dtype, None if known.shape is None else (*known.shape, *(1,) * count))
    out = b.between(n, "unsqueezed", like)
    if value is not None:
        b.values[out] = value.reshape(*value.shape, *(1,) * count)
        return out
    return b.emit(n, "Unsqueeze", [b.use(name), b.ints(n, "axes", range(rank, rank + count))], {}, [out])


@older_than_7(
    "Abs", "Ceil", "Clip", "Elu", "Exp", "Floor", "HardSigmoid", "InstanceNormalization", "LeakyRelu", "Log", "Max",
    "Mean", "Min", "Neg", "Reciprocal", "Relu", "Sigmoid", "Sqrt", "Sum", "Tanh", "Gemm", "GRU", "LSTM", "RNN",
)  # fmt: skip
def without_hints(b: Builder, n: OnnxNode) -> None:
    """Attributes that told an implementation what it might do: reuse a buffer, broadcast, leave out an output."""
    for key in ("consumed_inputs", "broadcast", "output_sequence"):
        n.attrs.pop(key, None)


@older_than_7("Selu")
def selu(b: Builder, n: OnnxNode) -> None:
    """Opset 6 gave the defaults more digits."""
    n.attrs.pop("consumed_inputs", None)
    if n.opset < 6:
        n.attrs.setdefault("alpha", 1.6732)
        n.attrs.setdefault("gamma", 1.0507)


@older_than_7("BatchNormalization", "Dropout")
def is_test(b: Builder, n: OnnxNode) -> None:
    """`is_test` 0 is training."""
    n.attrs.pop("consumed_inputs", None)
    if not n.attrs.pop("is_test", 0):
        raise Refused("is_test", "expected 1; export the model for inference")


@older_than_7("Cast")
def cast(b: Builder, n: OnnxNode) -> None:
    """Before opset 6 the type was a word: 'FLOAT', 'INT64', ..."""
    if isinstance(n.attrs.get("to"), str):
        words = {"FLOAT": "float32", "DOUBLE": "float64"}
        word = str(n.attrs["to"]).upper()
        number = TYPE_NUMBERS.get(words.get(word, word.lower()))
        if number is None:
            raise Refused("to", f"expected a numeric type, found {word}")
        n.attrs["to"] = number


@older_than_7("Concat")
def concat(b: Builder, n: OnnxNode) -> None:
    """`axis` had the default 1 before opset 4."""
    n.attrs.setdefault("axis", 1)


@older_than_7("LpPool", "GlobalLpPool")
def lp_pool(b: Builder, n: OnnxNode) -> None:
    """`p` was a float in opset 1."""
    p = float(n.attrs.get("p", 2))
    if p != int(p):
        raise Refused("p", f"expected a whole number, found {p}")
    n.attrs["p"] = int(p)


@older_than_7("Pad")
def pad(b: Builder, n: OnnxNode) -> None:
    """`paddings` in opset 1."""
    if "paddings" in n.attrs:
        n.attrs["pads"] = n.attrs.pop("paddings")


@older_than_7("Reshape")
def reshape(b: Builder, n: OnnxNode) -> None:
    """`shape` was an attribute before opset 5."""
    n.attrs.pop("consumed_inputs", None)
    if n.opset < 5:
        n.inputs.append(b.ints(n, "shape", n.attrs.pop("shape", [])))


@older_than_7("Split")
def split(b: Builder, n: OnnxNode) -> None:
    """Sizes were an input in opset 1, as they are again since 13."""
    if n.has(1):
        sizes = b.value(n.inputs[1])
        if sizes is None:
            raise Refused("", "expected constant sizes; export with opset 2 or newer")
        n.attrs["split"] = [int(v) for v in sizes.reshape(-1)]
        del n.inputs[1:]


@older_than_7("Tile")
def tile(b: Builder, n: OnnxNode) -> None:
    """Repeats of one axis in opset 1: inputs data, tiles, axis."""
    if n.opset >= 6:
        return
    rank, tiles, axis = b.rank(n.inputs[0]), b.value(n.inputs[1]), b.value(n.inputs[2])
    if rank is None or tiles is None or axis is None or not -rank <= int(axis.reshape(-1)[0]) < rank:
        raise Refused("", "expected constant tiles and axis and a known rank; export with opset 6 or newer")
    repeats = np.ones(rank, np.int64)
    repeats[int(axis.reshape(-1)[0])] = int(tiles.reshape(-1)[0])
    n.inputs[1:] = [b.ints(n, "repeats", repeats)]


@older_than_7("Upsample")
def upsample(b: Builder, n: OnnxNode) -> None:
    """One scale for the height and one for the width of images [N, C, H, W]."""
    n.attrs["scales"] = [1.0, 1.0, n.attrs.pop("height_scale"), n.attrs.pop("width_scale")]
