"""Lifts of the two operators of ai.onnx.ml that are plain arithmetic.
Trees, label encoders and what works on strings have no place in a graph of tensors."""

from __future__ import annotations

from edgert.converters.onnx.builder import Builder
from edgert.converters.onnx.hints import Hint
from edgert.converters.onnx.normalize import lift
from edgert.converters.onnx.reader import OnnxNode

DOMAIN = "ai.onnx.ml"


@lift("ArrayFeatureExtractor", domain=DOMAIN)
def array_feature_extractor(b: Builder, n: OnnxNode) -> None:
    """The columns that the second input names: of a vector, as a matrix of one row."""
    x, columns = b.use(n.inputs[0]), b.use(n.inputs[1])
    dtype = b.dtype(n.inputs[0])
    flat = b.emit(n, "Reshape", [columns, b.ints(n, "flat", [-1])], {}, [b.between(n, "columns", Hint("int64"))])
    if b.rank(n.inputs[0]) == 1:
        x = b.emit(n, "Unsqueeze", [x, b.ints(n, "first", [0])], {}, [b.between(n, "row", Hint(dtype))])
    b.emit(n, "Gather", [x, flat], {"axis": -1})


@lift("Binarizer", domain=DOMAIN)
def binarizer(b: Builder, n: OnnxNode) -> None:
    """1 above the threshold, else 0, in the input's type."""
    dtype = b.dtype(n.inputs[0])
    bound = b.scalar(n, "threshold", float(n.attrs.get("threshold", 0.0)), dtype)
    above = b.emit(n, "Greater", [b.use(n.inputs[0]), bound], {}, [b.between(n, "above", Hint("bool"))])
    b.emit(n, "Cast", [above], {"to": dtype})
