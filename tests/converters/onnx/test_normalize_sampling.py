"""Old and unusual forms of sampling, pooling with indices, and training leftovers; what is refused, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgert.converters.onnx.importer import check_onnx, import_onnx
from edgert.graph.execute import run_graph
from edgert.graph.ir import Graph

Save = Callable[..., Path]
Agree = Callable[..., Graph]

X = np.random.default_rng(0).standard_normal((2, 3, 6, 8)).astype(np.float32)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample_16(mode: str, save: Save, agree: Agree) -> None:
    grid = np.random.default_rng(1).uniform(-1.2, 1.2, (2, 5, 4, 2)).astype(np.float32)
    node = helper.make_node("GridSample", ["x", "grid"], ["y"], mode=mode)
    agree(save([node], {"x": X, "grid": grid}, ["y"], opset=16), {"x": X, "grid": grid}, rtol=1e-4)


@pytest.mark.parametrize("opset", [10, 16])
def test_roi_align(opset: int, save: Save, agree: Agree) -> None:
    rois, images = np.array([[0, 0, 5, 4], [1, 2, 6, 5]], np.float32), np.array([1, 0])
    node = helper.make_node("RoiAlign", ["x", "rois", "images"], ["y"], output_height=2, output_width=3)
    feeds = {"x": X, "rois": rois, "images": images}
    agree(save([node], feeds, ["y"], opset=opset), feeds, rtol=1e-4)


@pytest.mark.parametrize("opset", [7, 10, 12, 13])
def test_dropout_with_its_mask(opset: int, save: Save, agree: Agree) -> None:
    """The mask was of the input's type before opset 10."""
    path = save([helper.make_node("Dropout", ["x"], ["y", "mask"])], {"x": X},
                ["y", ("mask", "float32" if opset < 10 else "bool")], opset=opset)  # fmt: skip
    result = run_graph(import_onnx(path), {"x": X})
    np.testing.assert_array_equal(result["y"], X)
    assert (result["mask"] == 1).all()
    assert result["mask"].dtype == (np.float32 if opset < 10 else np.bool_)


def test_batch_normalization_in_training(save: Save) -> None:
    names = ["x", "scale", "bias", "mean", "var"]
    values = {name: np.random.default_rng(i).random(3).astype(np.float32) for i, name in enumerate(names[1:])}
    node = helper.make_node("BatchNormalization", names, ["y", "m", "v"], training_mode=1, momentum=0.75)
    result = run_graph(import_onnx(save([node], {"x": X}, ["y", "m", "v"], values)), {"x": X})
    mean, variance = X.mean(axis=(0, 2, 3)), X.var(axis=(0, 2, 3))
    shape = (1, 3, 1, 1)
    even = (X - mean.reshape(shape)) / np.sqrt(variance + 1e-5).reshape(shape)
    np.testing.assert_allclose(result["y"], even * values["scale"].reshape(shape) + values["bias"].reshape(shape),
                               rtol=1e-4, atol=1e-5)  # fmt: skip
    np.testing.assert_allclose(result["m"], 0.75 * values["mean"] + 0.25 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result["v"], 0.75 * values["var"] + 0.25 * variance, rtol=1e-4)


def test_max_pool_indices_by_column(save: Save, agree: Agree) -> None:
    node = helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 3], strides=[2, 1], storage_order=1)
    graph = agree(save([node], {"x": X}, ["y", ("i", "int64")]), {"x": X})
    assert graph.nodes[0].attr_int("storage_order", 0) == 1


@pytest.mark.parametrize(("operator", "advice"), [
    (helper.make_node("RandomUniformLike", ["x"], ["y"]), "numbers differ between runtimes"),
    (helper.make_node("Bernoulli", ["x"], ["y"]), "numbers differ between runtimes"),
    (helper.make_node("ImageDecoder", ["bytes"], ["y"]), "decode the image in the application"),
])  # fmt: skip
def test_refused(operator: TensorProto, advice: str, save: Save) -> None:
    feeds = {"bytes": np.zeros(9, np.uint8)} if operator.op_type == "ImageDecoder" else {"x": X}
    (problem,) = check_onnx(save([operator], feeds, ["y"], opset=20))
    assert advice in problem.advice
