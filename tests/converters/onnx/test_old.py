"""Operators of opset 1 to 6 mean what the changelog of ONNX says they meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgert.converters.onnx.importer import check_onnx, import_onnx
from edgert.graph.execute import run_graph

Save = Callable[..., Any]
X = np.random.default_rng(0).uniform(0.5, 2, (2, 3, 4, 5)).astype(np.float32)


def answer(save: Save, op: str, feeds: dict[str, np.ndarray], opset: int, constants: Any = None, **attrs: Any) -> Any:
    names = [*feeds, *(constants or {})]
    dtype = {"Equal": "bool", "Less": "bool"}.get(op, "float32")
    path = save([helper.make_node(op, names, ["y"], **attrs)], feeds, [("y", dtype)], constants, opset)
    return run_graph(import_onnx(path), feeds)["y"]


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(
    ("op", "function"), [("Add", np.add), ("Mul", np.multiply), ("Pow", np.power), ("Less", np.less)]
)
@pytest.mark.parametrize(("axis", "shape"), [(1, (3, 4)), (0, (2,)), (2, (4,)), (-1, (5,)), (None, (4, 5)), (1, ())])
def test_broadcast_by_axis(
    save: Save, op: str, function: Any, axis: int | None, shape: tuple[int, ...], constant: bool
) -> None:
    b = np.random.default_rng(1).uniform(0.5, 2, shape).astype(np.float32)
    first = 4 - len(shape) if axis is None else axis % 4
    placed = b.reshape(*b.shape, *(1,) * (4 - first - len(shape)))
    feeds = {"x": X} if constant else {"x": X, "b": b}
    attrs = {"broadcast": 1} if axis is None else {"broadcast": 1, "axis": axis}
    got = answer(save, op, feeds, 6, {"b": b} if constant else None, **attrs)
    np.testing.assert_allclose(got, function(X, placed), rtol=1e-6)


def test_an_axis_too_far_is_refused(save: Save) -> None:
    feeds = {"x": X, "b": X[0]}
    path = save([helper.make_node("Add", ["x", "b"], ["y"], broadcast=1, axis=2)], feeds, ["y"], None, 6)
    (problem,) = check_onnx(path)
    assert problem.attribute == "axis" and "at most 1" in problem.advice


def test_prelu_has_a_slope_for_each_channel(save: Save) -> None:
    slope = np.array([0.1, 0.2, 0.3], np.float32)
    got = answer(save, "PRelu", {"x": X - 1}, 6, {"slope": slope})
    np.testing.assert_allclose(got, np.where(X > 1, X - 1, (X - 1) * slope[:, None, None]), rtol=1e-5)


@pytest.mark.parametrize(
    ("op", "attrs", "constants", "expected"),
    [
        ("Relu", {"consumed_inputs": [0]}, {}, X),
        ("Reshape", {"shape": [2, 12, -1]}, {}, X.reshape(2, 12, 5)),
        ("Pad", {"paddings": [0, 0, 0, 1, 0, 0, 0, 0]}, {}, np.pad(X, [(0, 0)] * 3 + [(1, 0)])),
        ("Tile", {}, {"tiles": np.float32([3]), "axis": np.float32([1])}, np.tile(X, (1, 3, 1, 1))),
        ("Upsample", {"height_scale": 2.0, "width_scale": 3.0}, {}, X.repeat(2, 2).repeat(3, 3)),
        ("GlobalLpPool", {"p": 1.0}, {}, X.sum((2, 3), keepdims=True)),
        ("Cast", {"to": "FLOAT"}, {}, X),
        ("Dropout", {"is_test": 1, "ratio": 0.5}, {}, X),
        ("Selu", {}, {}, X * np.float32(1.0507)),
    ],
)
def test_forms_of_opset_1(save: Save, op: str, attrs: Any, constants: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(answer(save, op, {"x": X}, 1, constants, **attrs), expected, rtol=1e-5)


def test_concat_along_axis_1(save: Save) -> None:
    np.testing.assert_array_equal(answer(save, "Concat", {"x": X, "b": X}, 1), np.concatenate([X, X], 1))


def test_split_by_an_input(save: Save) -> None:
    node = helper.make_node("Split", ["x", "sizes"], ["y", "z"], axis=1)
    path = save([node], {"x": X}, ["y", "z"], {"sizes": np.float32([1, 2])}, 1)
    assert run_graph(import_onnx(path), {"x": X})["z"].shape == (2, 2, 4, 5)


def test_training_is_refused(save: Save) -> None:
    node = helper.make_node("Dropout", ["x"], ["y"], is_test=0)
    (problem,) = check_onnx(save([node], {"x": X}, ["y"], None, 6))
    assert problem.attribute == "is_test"
