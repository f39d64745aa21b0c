"""Quantization by parameters of the run, per block, or to 16 bits, float8 and 4 bits: plain arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgert.converters.onnx.importer import check_onnx, import_onnx
from edgert.graph.execute import run_graph
from edgert.graph.ir import Graph

Save, Agree = Callable[..., Any], Callable[..., Graph]


def n(op: str, inputs: str, outputs: str = "y", **attrs: Any) -> Any:
    return helper.make_node(op, inputs.split(), outputs.split(), **attrs)


def scale(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.01, 0.2, shape).astype(np.float32)


def x(*shape: int) -> np.ndarray:
    return (np.random.default_rng(2).standard_normal(shape) * 5).astype(np.float32)


def stored(dtype: str, *shape: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.random.default_rng(3).integers(info.min, info.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize(
    ("shape", "attrs"),
    [
        ((), {}), ((1,), {}), ((4,), {}), ((5,), {"axis": -1}), ((3,), {"axis": 0}),
        ((3, 4, 2), {"axis": 2, "block_size": 3}),
    ],
)  # fmt: skip
def test_scales_of_the_run(save: Save, agree: Agree, dtype: str, shape: tuple[int, ...], attrs: dict[str, int]) -> None:
    feeds = {"x": x(3, 4, 5), "s": scale(*shape), "z": stored(dtype, *shape)}
    nodes = [n("QuantizeLinear", "x s z", "q", **attrs), n("DequantizeLinear", "q s z", **attrs)]
    agree(save(nodes, feeds, [("q", dtype), "y"], {}, 21), feeds)


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_constant_scales_of_16_bits(save: Save, agree: Agree, dtype: str) -> None:
    feeds, constants = {"x": x(3, 4)}, {"s": scale(4), "z": stored(dtype, 4)}
    nodes = [n("QuantizeLinear", "x s z", "q"), n("DequantizeLinear", "q s z")]
    agree(save(nodes, feeds, [("q", dtype), "y"], constants, 21), feeds)


def test_float16_divides_in_float16(save: Save) -> None:
    feeds = {"x": x(3, 4).astype(np.float16), "s": np.asarray(np.float16(0.07)), "z": np.asarray(np.uint8(7))}
    path = save([n("QuantizeLinear", "x s z", "q")], feeds, [("q", "uint8")], {}, 21)
    steps = np.rint(feeds["x"] / feeds["s"]).astype(int) + 7  # ONNX: in the type of the scale
    np.testing.assert_array_equal(run_graph(import_onnx(path), feeds)["q"], np.clip(steps, 0, 255))


@pytest.mark.parametrize("to", [TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT8E4M3FN])
def test_narrow_types(save: Save, agree: Agree, to: int) -> None:
    feeds = {"x": x(3, 4)}
    nodes = [
        n("QuantizeLinear", "x s", "q", output_dtype=to), n("DequantizeLinear", "q s"),
    ]  # fmt: skip
    agree(save(nodes, feeds, ["y"], {"s": np.asarray(np.float32(0.6))}, 21), feeds)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize(("a", "b"), [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5))])
def test_matrix_products(save: Save, agree: Agree, dtype: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    feeds = {
        "a": stored(dtype, *a), "as": scale(), "az": stored(dtype), "b": stored(dtype, *b), "bs": scale(),
        "bz": stored(dtype), "ys": np.asarray(np.float32(1.5)), "yz": stored(dtype),
    }  # fmt: skip
    agree(save([n("QLinearMatMul", "a as az b bs bz ys yz")], feeds, [("y", dtype)], {}, 21), feeds)


def test_a_scale_per_row(save: Save) -> None:
    feeds = {
        "a": stored("uint8", 3, 4), "as": scale(3), "az": stored("uint8", 3), "b": stored("uint8", 4, 5),
        "bs": scale(5), "bz": stored("uint8", 5), "ys": np.asarray(np.float32(1.5)), "yz": stored("uint8"),
    }  # fmt: skip
    graph = import_onnx(save([n("QLinearMatMul", "a as az b bs bz ys yz")], feeds, [("y", "uint8")], {}, 21))
    rows = (feeds["a"].astype(int) - feeds["az"][:, None].astype(int)) * feeds["as"][:, None]
    columns = (feeds["b"].astype(int) - feeds["bz"].astype(int)) * feeds["bs"]
    expected = np.clip(np.rint(rows @ columns / 1.5) + feeds["yz"], 0, 255)
    np.testing.assert_array_equal(run_graph(graph, feeds)["y"], expected)


@pytest.mark.parametrize("filters", [(), (6,)])
@pytest.mark.parametrize("bias", [False, True])
def test_convolutions(save: Save, agree: Agree, filters: tuple[int, ...], bias: bool) -> None:
    feeds = {
        "x": stored("uint8", 1, 3, 5, 5), "xs": scale(), "xz": stored("uint8"), "w": stored("uint8", 6, 3, 3, 3),
        "ws": scale(*filters), "wz": np.full(filters, 100, np.uint8), "ys": np.asarray(np.float32(3)),
        "yz": stored("uint8"),
    }  # fmt: skip
    if bias:
        feeds["c"] = np.arange(-3, 3, dtype=np.int32) * 1000
    node = n("QLinearConv", " ".join(feeds), pads=[1, 1, 1, 1])
    # ONNX Runtime wants constant weights; their scale may be of the run
    constants = {name: feeds.pop(name) for name in ("w", "wz", "xz", "yz", "c") if name in feeds}
    agree(save([node], feeds, [("y", "uint8")], constants, 21), feeds)


def test_what_does_not_fit_is_refused(save: Save) -> None:
    feeds = {"x": x(3, 4), "s": scale(3, 3)}
    (problem,) = check_onnx(save([n("QuantizeLinear", "x s", axis=1, block_size=3)], feeds, [("y", "uint8")], {}, 21))
    assert problem.attribute == "block_size" and "2" in problem.advice
