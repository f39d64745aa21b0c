"""all-MiniLM-L6 exported with int8 weights, and quantized dynamically by ONNX Runtime: as networks they keep int8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgert.converters.convert import convert
from edgert.converters.report import count_operators
from edgert.converters.verify.compare import random_feeds, verify
from edgert.runtime.session import load

pytestmark = pytest.mark.model
SIZES = {"batch": 2, "sequence": 12}


def in_float(source: str, out: Path) -> Path:
    """The model with its weights, int8 -> Cast -> Mul, as float initializers."""
    model = onnx.load(source)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    gone = []
    for node in list(model.graph.node):
        cast = makers.get(node.input[0]) if node.op_type == "Mul" else None
        if cast is not None and cast.op_type == "Cast" and cast.input[0] in values and node.input[1] in values:
            real = values[cast.input[0]].astype(np.float32) * values[node.input[1]]
            model.graph.initializer.append(numpy_helper.from_array(real.astype(np.float32), node.output[0]))
            gone += [cast, node]
    assert gone
    for node in gone:
        model.graph.node.remove(node)
    onnx.save(model, out)
    return out


def test_weight_only(asset: Callable[[str], str], tmp_path: Path) -> None:
    source, out = Path(asset("minilm-l6-int8")), tmp_path / "m.edge"
    result = convert(source, out)
    assert sum(tensor.encoding == "q8g" for tensor in result.model.tensors.values()) == 36
    assert out.stat().st_size < 1.05 * source.stat().st_size
    assert verify(source, out, shapes=SIZES).agrees


def test_dynamic(asset: Callable[[str], str], tmp_path: Path) -> None:
    """Against the float model edgert is no further off than ONNX Runtime with the same int8 weights."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    runtime = pytest.importorskip("onnxruntime")
    source = in_float(asset("minilm-l6-int8"), tmp_path / "float.onnx")
    dynamic, out = tmp_path / "dynamic.onnx", tmp_path / "m.edge"
    quantization.quantize_dynamic(source, dynamic, per_channel=True, op_types_to_quantize=["MatMul"])
    result = convert(dynamic, out)
    assert {"MatMulInteger", "DynamicQuantizeLinear"}.isdisjoint(count_operators(result.model.graph))
    assert sum(tensor.encoding == "q8g" for tensor in result.model.tensors.values()) >= 36
    with load(out) as session:
        feeds = random_feeds(session.model.graph, SIZES, np.random.default_rng(0))
        name = session.model.graph.outputs[0]
        mine = session.run(feeds)[name]
    wanted, theirs = (runtime.InferenceSession(str(path)).run([name], feeds)[0] for path in (source, dynamic))
    assert np.abs(mine - wanted).mean() < np.abs(theirs - wanted).mean()
