"""Small sound models that mutations start from: together they hold most of what the two readers understand."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from flat_model import Dimension, FlatModel
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


@cache
def sources(kind: str) -> dict[str, bytes]:
    """Name -> bytes of a file of `kind` 'onnx' or 'tflite'."""
    makers = _ONNX if kind == "onnx" else _TFLITE
    return {maker.__name__: maker() for maker in makers}


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _model(nodes: list[Any], inputs: list[Any], outputs: list[Any], opset: int = 21, **constants: Any) -> bytes:
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    )
    model.ir_version = 10
    return bytes(model.SerializeToString())


def _info(name: str, shape: Any, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def convolutions() -> bytes:
    w = _rng().normal(size=(4, 3, 3, 3)).astype(np.float32)
    return _model(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
            helper.make_node("BatchNormalization", ["c", "b", "b", "b", "one"], ["n"]),
            helper.make_node("Clip", ["n", "zero", "six"], ["r"]),
            helper.make_node("Conv", ["r", "d"], ["e"], group=4, pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["e", "r"], ["s"]),
            helper.make_node("GlobalAveragePool", ["s"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "g", "b"], ["y"], transB=1),
        ],
        [_info("x", ["N", 3, 8, 8])], [_info("y", ["N", 4])], w=w, b=np.ones(4, np.float32),
        d=w[:, :1], g=np.eye(4, dtype=np.float32), one=np.ones(4, np.float32), zero=np.float32(0), six=np.float32(6),
    )  # fmt: skip


def quantized() -> bytes:
    w = _rng().integers(-127, 128, (4, 2, 3, 3)).astype(np.int8)
    scales = {"sx": np.float32(0.1), "sw": np.full(4, 0.02, np.float32), "sy": np.float32(0.3)}
    zeros = {"zx": np.uint8(3), "zw": np.zeros(4, np.int8), "zy": np.uint8(128)}
    return _model(
        [
            helper.make_node("QuantizeLinear", ["x", "sx", "zx"], ["q"]),
            helper.make_node("QLinearConv", ["q", "sx", "zx", "w", "sw", "zw", "sy", "zy", "b"], ["c"]),
            helper.make_node("MaxPool", ["c"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("DequantizeLinear", ["m", "sy", "zy"], ["d"]),
            helper.make_node("DequantizeLinear", ["v", "sw", "zw"], ["dv"], axis=0),
            helper.make_node("Reshape", ["d", "shape"], ["r"]),
            helper.make_node("MatMul", ["r", "t"], ["y0"]),
            helper.make_node("DynamicQuantizeLinear", ["y0"], ["a", "as", "az"]),
            helper.make_node("MatMulInteger", ["a", "u", "az"], ["i"]),
            helper.make_node("Cast", ["i"], ["y"], to=FLOAT),
        ],
        [_info("x", [1, 2, 6, 6])], [_info("y", [1, 3]), _info("dv", [4, 2])], w=w, b=np.arange(4, dtype=np.int32),
        v=w[:, :, 0, 0], shape=np.array([1, -1]), t=np.ones((16, 5), np.float32), u=np.ones((5, 3), np.int8),
        **scales, **zeros,
    )  # fmt: skip


def shapes() -> bytes:
    return _model(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "one"], ["n"]),
            helper.make_node("Unsqueeze", ["n", "axes"], ["u"]),
            helper.make_node("Concat", ["u", "minus"], ["to"], axis=0),
            helper.make_node("Reshape", ["x", "to"], ["r"]),
            helper.make_node("Transpose", ["r"], ["t"], perm=[1, 0]),
            helper.make_node("Slice", ["t", "axes", "two", "axes"], ["c"]),
            helper.make_node("Pad", ["c", "pads"], ["p"]),
            helper.make_node("Resize", ["p", "", "scales"], ["z"], mode="nearest"),
            helper.make_node("Tile", ["z", "two2"], ["l"]),
            helper.make_node("TopK", ["l", "axes1"], ["v", "i"]),
            helper.make_node("NonZero", ["v"], ["w"]),
            helper.make_node("Einsum", ["v", "v"], ["y"], equation="ij,kj->ik"),
        ],
        [_info("x", [2, 3, 4])], [_info("y", ["a", "b"]), _info("w", [2, "k"], INT64)], one=np.array(1),
        axes=np.array([0]), minus=np.array([-1]), two=np.array([2]), pads=np.array([0, 1, 1, 0]),
        scales=np.array([2, 2], np.float32), two2=np.array([2, 2]), axes1=np.array([1]),
    )  # fmt: skip


def control() -> bytes:
    def branch(op: str) -> Any:
        return helper.make_graph([helper.make_node(op, ["h"], [f"o{op}"])], op, [], [_info(f"o{op}", None)])

    loop = helper.make_graph(
        [helper.make_node("Add", ["c", "x"], ["d"]), helper.make_node("Identity", ["go"], ["on"])], "loop",
        [_info("i", [], INT64), _info("go", [], BOOL), _info("c", [4])], [_info("on", [], BOOL), _info("d", [4])],
    )  # fmt: skip
    scan = helper.make_graph(
        [helper.make_node("Mul", ["s", "e"], ["m"]), helper.make_node("Neg", ["m"], ["k"])], "scan",
        [_info("s", [4]), _info("e", [4])], [_info("m", [4]), _info("k", [4])],
    )  # fmt: skip
    return _model(
        [
            helper.make_node("Relu", ["x"], ["h"]),
            helper.make_node("If", ["b"], ["f"], then_branch=branch("Abs"), else_branch=branch("Neg")),
            helper.make_node("Loop", ["three", "", "f"], ["last"], body=loop),
            helper.make_node("Scan", ["last", "seq"], ["y", "z"], body=scan, num_scan_inputs=1),
        ],
        [_info("x", [4]), _info("b", [], BOOL)], [_info("y", [4]), _info("z", ["t", 4])], three=np.array(3),
        seq=np.ones((2, 4), np.float32),
    )  # fmt: skip


def recurrent() -> bytes:
    rng = _rng()
    w, r, b = (rng.normal(size=s).astype(np.float32) for s in ((1, 12, 2), (1, 12, 3), (1, 24)))
    return _model(
        [
            helper.make_node("LSTM", ["x", "w", "r", "b", "", "h"], ["y", "hn"], hidden_size=3),
            helper.make_node("Squeeze", ["y", "one"], ["q"]),
            helper.make_node("LayerNormalization", ["q", "g"], ["n"]),
            helper.make_node("Softmax", ["n"], ["s"]),
            helper.make_node("Gelu", ["s"], ["e"]),
            helper.make_node("BiasGelu", ["e", "g"], ["o"], domain="com.microsoft"),
        ],
        [_info("x", [5, 1, 2]), _info("h", [1, 1, 3])], [_info("o", [5, 1, 3]), _info("hn", [1, 1, 3])], w=w, r=r, b=b,
        one=np.array([1]), g=np.ones(3, np.float32),
    )  # fmt: skip


def images() -> bytes:
    m, rng = FlatModel(), _rng()
    x = m.input("x", (1, 8, 8, 3))
    w = m.constant("w", rng.normal(size=(4, 3, 3, 3)).astype(np.float32))
    half = m.constant("half", np.ones(4, np.float16))
    b = m.op("DEQUANTIZE", [half], ("b", (4,), "float32"))
    conv = {"padding": "SAME", "stride_w": 2, "stride_h": 2, "fused_activation_function": "RELU6"}
    c = m.op("CONV_2D", [x, w, b], ("c", (1, 4, 4, 4), "float32"), **conv)
    d = m.constant("d", rng.normal(size=(1, 3, 3, 4)).astype(np.float32))
    e = m.op("DEPTHWISE_CONV_2D", [c, d, -1], ("e", (1, 4, 4, 4), "float32"), padding="SAME", stride_w=1, stride_h=1,
             depth_multiplier=1)  # fmt: skip
    s = m.op("ADD", [c, e], ("s", (1, 4, 4, 4), "float32"))
    size = m.constant("size", np.array([8, 8], np.int32))
    z = m.op("RESIZE_BILINEAR", [s, size], ("z", (1, 8, 8, 4), "float32"), half_pixel_centers=True)
    p = m.op("AVERAGE_POOL_2D", [z], ("p", (1, 4, 4, 4), "float32"), padding="VALID", stride_w=2, stride_h=2,
             filter_width=2, filter_height=2)  # fmt: skip
    shape = m.constant("shape", np.array([1, 64], np.int32))
    f = m.op("RESHAPE", [p, shape], ("f", (1, 64), "float32"))
    k = m.constant(
        "k",
        rng.normal(size=(5, 64)).astype(np.float32) * (rng.random((5, 64)) < 0.3),
    )
    g = m.op("FULLY_CONNECTED", [f, k, -1], ("g", (1, 5), "float32"))
    m.output(m.op("SOFTMAX", [g], ("y", (1, 5), "float32"), beta=1.0))
    return m.pack()


def integers() -> bytes:
    m, rng = FlatModel(), _rng()
    q = {"scale": [0.05], "zero_point": [-3]}
    x = m.input("x", (1, 6, 6, 2), "int8", **q)
    w = m.constant("w", rng.integers(-127, 128, (4, 3, 3, 2)).astype(np.int8), scale=[0.01, 0.02, 0.03, 0.04],
                   zero_point=[0] * 4, axis=0)  # fmt: skip
    b = m.constant("b", np.arange(4, dtype=np.int32), scale=[0.0005, 0.001, 0.0015, 0.002], zero_point=[0] * 4, axis=0)
    o = {"scale": [0.2], "zero_point": [10]}
    c = m.op("CONV_2D", [x, w, b], ("c", (1, 4, 4, 4), "int8", o), padding="VALID", stride_w=1, stride_h=1)
    p = m.op("MAX_POOL_2D", [c], ("p", (1, 2, 2, 4), "int8", o), padding="VALID", stride_w=2, stride_h=2,
             filter_width=2, filter_height=2)  # fmt: skip
    j = m.op("CONCATENATION", [p, p], ("j", (1, 2, 2, 8), "int8", o), axis=3)
    axes = m.constant("axes", np.array([1, 2], np.int32))
    r = m.op("MEAN", [j, axes], ("r", (1, 8), "int8", o), keep_dims=False)
    k = m.constant("k", rng.integers(-127, 128, (3, 8)).astype(np.int8), scale=[0.02], zero_point=[0])
    g = m.op("FULLY_CONNECTED", [r, k, -1], ("g", (1, 3), "int8", {"scale": [0.5], "zero_point": [0]}))
    p = m.op("LOGISTIC", [g], ("l", (1, 3), "int8", {"scale": [1 / 256], "zero_point": [-128]}))
    m.output(m.op("DEQUANTIZE", [p], ("y", (1, 3), "float32")))
    return m.pack()


def states() -> bytes:
    m = FlatModel()
    start = m.subgraph("start")
    m.op("CALL_ONCE", [], [], init_subgraph_index=start.index)
    for graph in (m, start):
        handle = graph.op("VAR_HANDLE", [], ("handle", (), "resource"), container="", shared_name="v")
        if graph is start:
            zero = graph.constant("zero", np.zeros((1, 3), np.float32))
            graph.op("ASSIGN_VARIABLE", [handle, zero], [])
            continue
        x = graph.input("x", (1, 3))
        old = graph.op("READ_VARIABLE", [handle], ("old", (1, 3), "float32"))
        new = graph.op("ADD", [old, x], ("new", (1, 3), "float32"))
        graph.op("ASSIGN_VARIABLE", [handle, new], [])
        begin, ends, ones = (graph.constant(n, np.array(v, np.int32)) for n, v in
                             (("begin", [0, 0]), ("ends", [1, 2]), ("ones", [1, 1])))  # fmt: skip
        part = graph.op("STRIDED_SLICE", [new, begin, ends, ones], ("part", (1, 2), "float32"), begin_mask=1)
        graph.output(graph.op("TANH", [part], ("y", (1, 2), "float32")))
    return m.pack()


def sparse() -> bytes:
    m, rng = FlatModel(), _rng()
    x = m.input("x", (2, 8))
    dense = rng.normal(size=(4, 8)).astype(np.float32)
    keep = np.zeros((4, 8), bool)
    keep[:, ::3] = True
    segments = [0, 3, 6, 9, 12]
    indices = [i for row in keep for i in np.flatnonzero(row).tolist()]
    dims = [Dimension(size=4), Dimension(segments=segments, indices=indices, width=8)]
    w = m.constant("w", dense[keep], shape=(4, 8), sparse=([0, 1], [], dims))
    d = m.op("DENSIFY", [w], ("d", (4, 8), "float32"))
    m.output(m.op("FULLY_CONNECTED", [x, d, -1], ("y", (2, 4), "float32"), fused_activation_function="RELU"))
    return m.pack()


_ONNX = (convolutions, quantized, shapes, control, recurrent)
_TFLITE = (images, integers, states, sparse)
