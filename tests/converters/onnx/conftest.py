"""Small ONNX models made on the spot, and the comparison of their import with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgert.converters.onnx.importer import import_onnx
from edgert.graph.execute import run_graph
from edgert.graph.ir import Graph

Arrays = dict[str, np.ndarray]
MS = "com.microsoft"


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """save(nodes, feeds, outputs, constants=..., opset=...) writes a model whose inputs fit `feeds`."""

    def write(
        nodes: Sequence[onnx.NodeProto],
        feeds: Arrays,
        outputs: Sequence[str | tuple[str, str]],
        constants: Arrays | None = None,
        opset: int = 17,
        **extra: Any,
    ) -> Path:
        def info(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

        pairs = [(o, "float32") if isinstance(o, str) else o for o in outputs]
        graph = helper.make_graph(
            list(nodes),
            "g",
            [info(name, array) for name, array in feeds.items()],
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)
                for name, dtype in pairs
            ],
            [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
        )
        imports = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
        model = helper.make_model(graph, opset_imports=imports, **extra)
        model.ir_version = 8 if opset < 19 else 10
        path = tmp_path / f"model{len(list(tmp_path.iterdir()))}.onnx"
        onnx.save(model, str(path))
        return path

    return write


@pytest.fixture
def peer() -> Callable[[Path, Arrays], list[np.ndarray]]:
    """peer(path, feeds) is what ONNX Runtime answers."""
    import onnxruntime as ort

    def run(path: Path, feeds: Arrays) -> list[np.ndarray]:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return list(session.run(None, feeds))

    return run


@pytest.fixture
def agree(peer: Callable[..., list[np.ndarray]]) -> Callable[..., Graph]:
    """agree(path, feeds, step=0) imports, runs and compares with ONNX Runtime. `step`, the scale of a quantized
    answer: at most 3 % of the values may differ, and by one step. Returns the graph."""

    def compare(path: Path, feeds: Arrays, step: float = 0.0, rtol: float = 1e-5) -> Graph:
        graph = import_onnx(path)
        ours = run_graph(graph, feeds)
        for name, theirs in zip(graph.outputs, peer(path, feeds), strict=True):
            mine = ours[name]
            assert mine.dtype == theirs.dtype and mine.shape == theirs.shape, (name, mine.dtype, mine.shape)
            if not step:
                np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=1e-5, err_msg=name)
                continue
            off = np.abs(mine.astype(np.float64) - theirs)
            assert off.max(initial=0) < 1.01 * step and np.mean(off > 0.01 * step) <= 0.03, (name, off.max())
        return graph

    return compare
