"""Type inference in a process of its own: it answers, and where it dies or hangs the importer goes on without."""

from __future__ import annotations

import os
import signal
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgert.converters.onnx import inference_process
from edgert.converters.onnx.inference_process import InferenceProcess


def model(*shape: int) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Neg", ["h"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def shape_of(found: onnx.ModelProto | None) -> list[int]:
    assert found is not None
    return [d.dim_value for d in found.graph.value_info[0].type.tensor_type.shape.dim]


@pytest.fixture
def process() -> Any:
    process = InferenceProcess()
    yield process
    process.close()


def test_it_infers(process: InferenceProcess) -> None:
    for size in (2, 3):
        assert shape_of(process.infer(model(size, 5))) == [size, 5]


def test_after_its_death_it_is_started_anew(process: InferenceProcess) -> None:
    assert shape_of(process.infer(model(2))) == [2]
    assert process._child is not None
    os.kill(process._child.pid, signal.SIGKILL)
    process._child.wait()
    assert shape_of(process.infer(model(3))) == [3]


def test_a_silent_one_is_given_up(process: InferenceProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shape_of(process.infer(model(2))) == [2]
    child = process._child
    assert child is not None
    monkeypatch.setattr(inference_process, "SECONDS", 0.05)
    os.kill(child.pid, signal.SIGSTOP)
    assert process.infer(model(2)) is None
    assert child.poll() is not None, "it is not left behind"
    monkeypatch.setattr(inference_process, "SECONDS", 10.0)
    assert shape_of(process.infer(model(4))) == [4]


def test_what_can_not_be_inferred_is_no_answer(process: InferenceProcess) -> None:
    broken = model(2)
    broken.graph.node[0].op_type = ""
    broken.graph.input[0].type.ClearField("tensor_type")
    found = process.infer(broken)
    assert found is None or not found.graph.value_info
