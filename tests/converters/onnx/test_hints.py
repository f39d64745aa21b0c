"""What onnx infers of a model and its bodies, and how long it may take over all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper

from edgert.converters.onnx import hints
from edgert.converters.onnx.hints import Hint, infer_hints, infer_values
from edgert.converters.onnx.reader import read_onnx

Save = Callable[..., Path]
X = np.zeros((2, 3), np.float32)


def test_types_of_what_nodes_make(save: Save) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"]),
        helper.make_node("Gelu", ["t"], ["g"], domain="com.microsoft"),
        helper.make_node("Shape", ["g"], ["y"]),
    ]
    found = infer_hints(read_onnx(save(nodes, {"x": X}, [("y", "int64")], {})))
    assert found["t"] == found["g"] == Hint("float32", (3, 2))
    assert found["y"] == Hint("int64", (2,))


def test_questions_of_one_model_share_its_time(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a thousand bodies, each without an answer, would otherwise take hours."""
    model = read_onnx(save([helper.make_node("Transpose", ["x"], ["y"])], {"x": X}, ["y"], {}))
    asked: list[ModelProto] = []
    monkeypatch.setattr(hints.PROCESS, "infer", asked.append)  # None: no answer
    monkeypatch.setattr(hints, "SECONDS", 25)
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(hints.time, "monotonic", lambda: next(clock))
    for _ in range(10):
        assert "x" in infer_values(model.skeleton, model)  # what is declared is still there
    assert len(asked) == 3
