"""The metadata key `edgert.info` survives a round trip, and nonsense in it gives a typed error."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import StringStringEntryProto

from edgert.converters.onnx.metadata import KEY, info_to_text, read_info
from edgert.errors import FormatError
from edgert.format import ModelInfo, Preprocessing
from edgert.models import FASHION_MNIST


def properties(text: str) -> list[StringStringEntryProto]:
    return [StringStringEntryProto(key="author", value="x"), StringStringEntryProto(key=KEY, value=text)]


def test_round_trip() -> None:
    steps = Preprocessing("image", (224, 200), 256, mean=[1.0, 2.0, 3.0], scale=[0.5], standardize=True)
    info = ModelInfo("cat", "image-classification", ["cat", "no cat"], steps, "MIT")
    assert read_info(properties(info_to_text(info)), "model.onnx") == info
    assert read_info(properties(info_to_text(ModelInfo("x"))), "model.onnx") == ModelInfo("x")


def test_absent() -> None:
    assert read_info([], "model.onnx") is None


def test_shipped_model_describes_itself() -> None:
    info = read_info(onnx.load(FASHION_MNIST).metadata_props, FASHION_MNIST)
    assert info is not None
    assert len(info.labels) == 10
    assert info.preprocessing is not None
    assert info.preprocessing.crop == (28, 28)


GOOD = {"input": "image", "crop": [2, 2]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"nam": "x"}',
        '{"name": 3}',
        '{"labels": "cat"}',
        '{"labels": [1]}',
        '{"language": {"tokenizer": "x"}}',
        *(
            json.dumps({"preprocessing": {**GOOD, **bad}})
            for bad in (
                {"standardize": 1},
                {"crop": [2]},
                {"crop": [2, "2"]},
                {"crop": [True, True]},
                {"resize": "2"},
                {"mean": 0},
                {"scale": ["1"]},
                {"input": 1},
                {"channels": 1},
                {"more": 1},
            )
        ),
        '{"preprocessing": {"crop": [1, 1]}}',
        '{"preprocessing": []}',
    ],
    ids=lambda text: text[:60],
)
def test_nonsense(text: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_info(properties(text), Path("model.onnx"))
    assert "model.onnx" in str(caught.value)
