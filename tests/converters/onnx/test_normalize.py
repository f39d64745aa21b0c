"""Every older form is lifted to the canonical one and gives the answers of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edgert.graph.ir import Graph

MS = "com.microsoft"
IMAGE = (1, 4, 6, 5)


def n(op: str, inputs: str, outputs: str = "y", domain: str = "", **attrs: Any) -> Any:
    """A node from blank-separated names; '-' is an absent input."""
    names = [name.replace("-", "") for name in inputs.split()]
    return helper.make_node(op, names, outputs.split(), domain=domain, **attrs)


def f(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + sum(shape)).normal(size=shape).astype(np.float32)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


I64 = ("y", "int64")
CASES: dict[str, tuple[int, list[Any], dict[str, np.ndarray], dict[str, np.ndarray], list[Any], list[str]]] = {
    # name: opset, nodes, feeds, constants, outputs, operators expected in the graph
    "clip_6": (7, [n("Clip", "x", min=-0.5, max=0.5)], {"x": f(2, 5)}, {}, ["y"], ["Clip"]),
    "clip_6_open": (7, [n("Clip", "x", min=-0.5)], {"x": f(2, 5)}, {}, ["y"], ["Clip"]),
    "clip_13": (13, [n("Clip", "x - hi")], {"x": f(2, 5)}, {"hi": np.float32([0.3]).reshape(())}, ["y"], ["Clip"]),
    "squeeze_1": (7, [n("Squeeze", "x", axes=[1])], {"x": f(2, 1, 3)}, {}, ["y"], ["Squeeze"]),
    "squeeze_all": (11, [n("Squeeze", "x")], {"x": f(2, 1, 3)}, {}, ["y"], ["Squeeze"]),
    "unsqueeze_1": (9, [n("Unsqueeze", "x", axes=[0, 2])], {"x": f(2, 3)}, {}, ["y"], ["Unsqueeze"]),
    "reduce_sum_1": (11, [n("ReduceSum", "x", axes=[1], keepdims=0)], {"x": f(2, 3, 4)}, {}, ["y"], ["ReduceSum"]),
    "reduce_sum_13": (13, [n("ReduceSum", "x a")], {"x": f(2, 3, 4)}, {"a": i64(1)}, ["y"], ["ReduceSum"]),
    "reduce_mean_13": (13, [n("ReduceMean", "x", axes=[-1])], {"x": f(2, 3, 4)}, {}, ["y"], ["ReduceMean"]),
    "reduce_mean_18": (18, [n("ReduceMean", "x a")], {"x": f(2, 3, 4)}, {"a": i64(2)}, ["y"], ["ReduceMean"]),
    "reduce_max_all": (12, [n("ReduceMax", "x")], {"x": f(2, 3, 4)}, {}, ["y"], ["ReduceMax"]),
    "slice_1": (7, [n("Slice", "x", starts=[1, 0], ends=[9, -1], axes=[2, 1])], {"x": f(2, 3, 4)}, {}, ["y"],
                ["Slice"]),
    "slice_1_no_axes": (9, [n("Slice", "x", starts=[1], ends=[2])], {"x": f(2, 3)}, {}, ["y"], ["Slice"]),
    "slice_10": (10, [n("Slice", "x s e a t")], {"x": f(4, 6)},
                 {"s": i64(-1), "e": i64(-9), "a": i64(1), "t": i64(-2)}, ["y"], ["Slice"]),
    "split_2": (11, [n("Split", "x", "y z", axis=1, split=[1, 3])], {"x": f(2, 4)}, {}, ["y", "z"], ["Split"]),
    "split_2_equal": (11, [n("Split", "x", "y z")], {"x": f(4, 2)}, {}, ["y", "z"], ["Split"]),
    "split_13": (13, [n("Split", "x s", "y z", axis=1)], {"x": f(2, 4)}, {"s": i64(1, 3)}, ["y", "z"], ["Split"]),
    "split_18": (18, [n("Split", "x", "y z", num_outputs=2)], {"x": f(4, 2)}, {}, ["y", "z"], ["Split"]),
    "split_unused": (13, [n("Split", "x", "z y")], {"x": f(4, 2)}, {}, ["y"], ["Split"]),
    "pad_2": (10, [n("Pad", "x", pads=[0, 1, 2, 0], value=1.5)], {"x": f(2, 3)}, {}, ["y"], ["Pad"]),
    "pad_2_reflect": (7, [n("Pad", "x", pads=[0, 1, 0, 2], mode="reflect")], {"x": f(2, 4)}, {}, ["y"], ["Pad"]),
    "pad_11": (11, [n("Pad", "x p v")], {"x": f(2, 3)}, {"p": i64(0, 1, 0, 2), "v": np.float32(2.0).reshape(())},
               ["y"], ["Pad"]),
    "top_k_1": (9, [n("TopK", "x", "y i", k=2, axis=1)], {"x": f(3, 5)}, {}, ["y", ("i", "int64")], ["TopK"]),
    "top_k_11": (11, [n("TopK", "x k", "y i", largest=0)], {"x": f(3, 5)}, {"k": i64(2)},
                 ["y", ("i", "int64")], ["TopK"]),
    "scatter_9": (9, [n("Scatter", "x i u", axis=1)], {"x": f(2, 4), "u": f(2, 1)},
                  {"i": i64(1, 3).reshape(2, 1)}, ["y"], ["ScatterElements"]),
    "cast_6": (9, [n("Cast", "x", to=7)], {"x": f(2, 4) * 5}, {}, [I64], ["Cast"]),
    "cast_like": (15, [n("CastLike", "x t")], {"x": f(2, 4) * 5}, {"t": i64(1)}, [I64], ["Cast"]),
    "constant_of_shape": (9, [n("Shape", "x", "s"),
                              n("ConstantOfShape", "s", value=numpy_helper.from_array(np.array([7], np.int64)))],
                          {"x": f(2, 3)}, {}, [I64], ["Shape", "Expand"]),
    "upsample_7": (7, [n("Upsample", "x", scales=[1.0, 1.0, 2.0, 3.0])], {"x": f(1, 2, 3, 2)}, {}, ["y"],
                   ["Resize"]),
    "upsample_9_linear": (9, [n("Upsample", "x s", mode="linear")], {"x": f(1, 2, 3, 2)},
                          {"s": np.float32([1, 1, 2, 2])}, ["y"], ["Resize"]),
    "resize_10_down": (10, [n("Resize", "x s")], {"x": f(1, 1, 5, 8)}, {"s": np.float32([1, 1, 0.6, 0.5])}, ["y"],
                       ["Resize"]),
    "resize_11_sizes": (11, [n("Resize", "x r s z", mode="linear", coordinate_transformation_mode="align_corners")],
                        {"x": f(1, 1, 3, 4)},
                        {"r": np.float32([]), "s": np.float32([]), "z": i64(1, 1, 5, 7)}, ["y"], ["Resize"]),
    "resize_13": (13, [n("Resize", "x - s")], {"x": f(1, 1, 3, 4)}, {"s": np.float32([1, 1, 2, 2])}, ["y"],
                  ["Resize"]),
    "softmax_11_last": (11, [n("Softmax", "x", axis=2)], {"x": f(2, 3, 4)}, {}, ["y"], ["Softmax"]),
    "softmax_11_flat": (11, [n("Softmax", "x")], {"x": f(2, 3, 4)}, {}, ["y"],
                        ["Shape", "Flatten", "Softmax", "Reshape"]),
    "log_softmax_7_flat": (7, [n("LogSoftmax", "x", axis=0)], {"x": f(2, 3)}, {}, ["y"],
                           ["Shape", "Flatten", "LogSoftmax", "Reshape"]),
    "softmax_13": (13, [n("Softmax", "x", axis=1)], {"x": f(2, 3, 4)}, {}, ["y"], ["Softmax"]),
    "sum": (8, [n("Sum", "x x z")], {"x": f(2, 3), "z": f(3)}, {}, ["y"], ["Add", "Add"]),
    "sum_one": (8, [n("Sum", "x")], {"x": f(2, 3)}, {}, ["y"], ["Identity"]),
    "min": (13, [n("Min", "x z w")], {"x": f(2, 3), "z": f(3), "w": f(2, 1)}, {}, ["y"], ["Min", "Min"]),
    "max": (8, [n("Max", "x z")], {"x": f(2, 3), "z": f(3)}, {}, ["y"], ["Max"]),
    "mean": (8, [n("Mean", "x z w")], {"x": f(2, 3), "z": f(3), "w": f(2, 1)}, {}, ["y"], ["Add", "Add", "Div"]),
    "dropout_7": (7, [n("Dropout", "x", "d m", ratio=0.7), n("Abs", "d")], {"x": f(2, 3)}, {}, ["y"], ["Abs"]),
    "dropout_13": (13, [n("Dropout", "x r", "d"), n("Abs", "d")], {"x": f(2, 3)},
                   {"r": np.float32(0.5).reshape(())}, ["y"], ["Abs"]),
    "identity": (13, [n("Identity", "x", "a"), n("Identity", "a", "b"), n("Abs", "b")], {"x": f(2, 3)}, {}, ["y"],
                 ["Abs"]),
    "batch_norm_9": (9, [n("BatchNormalization", "x s b m v", momentum=0.5, epsilon=1e-3)], {"x": f(*IMAGE)},
                     {"s": f(4), "b": f(4, seed=1), "m": f(4, seed=2), "v": abs(f(4, seed=3))}, ["y"],
                     ["BatchNormalization"]),
    "gemm_7": (7, [n("Gemm", "x w b", transB=1, alpha=0.5)], {"x": f(2, 3)}, {"w": f(4, 3), "b": f(4)}, ["y"],
               ["Gemm"]),
    "reshape_5": (7, [n("Reshape", "x s")], {"x": f(2, 6)}, {"s": i64(0, -1, 2)}, ["y"], ["Reshape"]),
    "constant_output": (13, [n("Abs", "x"), n("Identity", "c", "z")], {"x": f(2)}, {"c": f(3)}, ["y", "z"],
                        ["Abs", "Identity"]),
    "gelu": (20, [n("Gelu", "x", approximate="tanh")], {"x": f(2, 3)}, {}, ["y"], ["Gelu"]),
    "layer_norm": (17, [n("LayerNormalization", "x s b", epsilon=1e-4)], {"x": f(2, 3, 8)}, {"s": f(8), "b": f(8)},
                   ["y"], ["LayerNormalization"]),
    "group_norm_21": (21, [n("GroupNormalization", "x s b", num_groups=2)], {"x": f(*IMAGE)},
                      {"s": f(4), "b": f(4, seed=1)}, ["y"], ["GroupNormalization"]),
    "ms_gelu": (17, [n("Gelu", "x", domain=MS)], {"x": f(2, 3)}, {}, ["y"], ["Gelu"]),
    "ms_fast_gelu": (17, [n("FastGelu", "x b", domain=MS)], {"x": f(2, 3)}, {"b": f(3)}, ["y"], ["Add", "Gelu"]),
    "ms_bias_gelu": (17, [n("BiasGelu", "x b", domain=MS)], {"x": f(2, 3)}, {"b": f(3)}, ["y"], ["Add", "Gelu"]),
    "ms_quick_gelu": (17, [n("QuickGelu", "x", domain=MS)], {"x": f(2, 3)}, {}, ["y"], ["Mul", "Sigmoid", "Mul"]),
    "ms_fused_conv": (17, [n("FusedConv", "x w b", domain=MS, activation="Relu", pads=[1, 1, 1, 1])],
                      {"x": f(*IMAGE)}, {"w": f(3, 4, 3, 3), "b": f(3)}, ["y"], ["Conv", "Relu"]),
    "ms_fused_conv_sum": (17, [n("FusedConv", "x w - z", domain=MS, activation="Clip",
                                 activation_params=[0.0, 1.0], pads=[1, 1, 1, 1])],
                          {"x": f(*IMAGE), "z": f(1, 3, 6, 5)}, {"w": f(3, 4, 3, 3)}, ["y"],
                          ["Conv", "Add", "Clip"]),
    "ms_fused_gemm": (17, [n("FusedGemm", "x w b", domain=MS, activation="LeakyRelu", activation_alpha=0.25)],
                      {"x": f(2, 3)}, {"w": f(3, 4), "b": f(4)}, ["y"], ["Gemm", "LeakyRelu"]),
    "ms_fused_matmul": (17, [n("FusedMatMul", "x w", domain=MS, transA=1, alpha=0.5)],
                        {"x": f(2, 5, 3)}, {"w": f(5, 4)}, ["y"], ["Transpose", "MatMul", "Mul"]),
    "ms_skip_layer_norm": (17, [n("SkipLayerNormalization", "x z g b c", domain=MS)],
                           {"x": f(1, 3, 8), "z": f(1, 3, 8, seed=1)},
                           {"g": f(8), "b": f(8, seed=1), "c": f(8, seed=2)}, ["y"],
                           ["Add", "Add", "LayerNormalization"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_lift(name: str, save: Callable[..., Path], agree: Callable[..., Graph]) -> None:
    opset, nodes, feeds, constants, outputs, operators = CASES[name]
    graph = agree(save(nodes, feeds, outputs, constants, opset), feeds)
    assert [node.op for node in graph.nodes] == operators


def test_group_norm_18_scale_per_group(save: Callable[..., Path], agree: Callable[..., Graph]) -> None:
    """ONNX Runtime reads opset 18 as opset 21, so the two forms are compared with each other."""
    from edgert.converters.onnx.importer import import_onnx
    from edgert.graph.execute import run_graph

    x = {"x": f(*IMAGE)}
    old = save([n("GroupNormalization", "x s b", num_groups=2)], x, ["y"], {"s": f(2), "b": f(2, seed=1)}, 18)
    new = save(
        [n("GroupNormalization", "x s b", num_groups=2)],
        x, ["y"], {"s": f(2).repeat(2), "b": f(2, seed=1).repeat(2)}, 21,
    )  # fmt: skip
    answers = [run_graph(import_onnx(path), x)["y"] for path in (old, new)]
    np.testing.assert_array_equal(*answers)


def test_canonical_graphs_have_no_attribute_forms(save: Callable[..., Path], agree: Callable[..., Graph]) -> None:
    lifted = {
        "Clip": {"min", "max"}, "Squeeze": {"axes"}, "Unsqueeze": {"axes"}, "ReduceSum": {"axes"},
        "ReduceMean": {"axes"}, "ReduceMax": {"axes"}, "Slice": {"starts", "ends", "axes"}, "Split": {"split"},
        "Pad": {"pads", "value"}, "TopK": {"k"}, "BatchNormalization": {"momentum", "training_mode", "spatial"},
    }  # fmt: skip
    for opset, nodes, feeds, constants, outputs, _ in CASES.values():
        graph = agree(save(nodes, feeds, outputs, constants, opset), feeds)
        for node in graph.nodes:
            assert not lifted.get(node.op, set()) & node.attrs.keys()
