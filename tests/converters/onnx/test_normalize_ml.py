"""The two operators of ai.onnx.ml that are plain arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgert.converters.onnx.importer import check_onnx
from edgert.graph.ir import Graph

Agree = Callable[..., Graph]


def save(node: onnx.NodeProto, x: np.ndarray, folder: Path, **constants: np.ndarray) -> Path:
    given = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
    out = helper.make_tensor_value_info("y", given.type.tensor_type.elem_type, None)
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    graph = helper.make_graph([node], "g", [given], [out], tensors)
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), str(folder / "m.onnx"))
    return folder / "m.onnx"


@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6)])
def test_array_feature_extractor(shape: tuple[int, ...], agree: Agree, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    node = helper.make_node("ArrayFeatureExtractor", ["x", "i"], ["y"], domain="ai.onnx.ml")
    agree(save(node, x, tmp_path, i=np.array([[4, 0, 4]])), {"x": x})


@pytest.mark.parametrize("threshold", [None, 0.25])
def test_binarizer(threshold: float | None, agree: Agree, tmp_path: Path) -> None:
    x = np.array([[-1, 0, 0.25], [0.26, np.inf, -np.inf]], np.float32)
    attrs: dict[str, Any] = {} if threshold is None else {"threshold": threshold}
    node = helper.make_node("Binarizer", ["x"], ["y"], domain="ai.onnx.ml", **attrs)
    agree(save(node, x, tmp_path), {"x": x})


def test_others_are_refused_by_name(tmp_path: Path) -> None:
    x = np.zeros((1, 2), np.float32)
    node = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[1.0], scale=[2.0])
    (problem,) = check_onnx(save(node, x, tmp_path))
    assert (problem.op, problem.domain) == ("Scaler", "ai.onnx.ml")
