"""The cases of ONNX's conformance suite: what each needs, whether edgert passes it, and which are known not to.
The bridge to edgert is `backend.py`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from backend import EdgertBackend
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from edgert.errors import EdgertError

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
NOT_PASSED = Path(__file__).parent / "not_passed.json"
"""Reason -> names of the cases that do not pass for it."""


@cache
def cases(kind: str) -> dict[str, Any]:
    """Name -> case. Node cases that are other cases with the operator written out are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in load_model_tests(kind=kind) if "_expanded" not in case.name}


def model_of(case: Any) -> onnx.ModelProto:
    return case.model if case.model is not None else onnx.load(Path(case.model_dir) / "model.onnx")


def data_of(case: Any, model: onnx.ModelProto) -> Iterator[tuple[list[Any], list[Any]]]:
    """(inputs, expected outputs) of each data set."""
    if case.data_sets is not None:
        for inputs, outputs in case.data_sets:
            yield [plain(v) for v in inputs], [plain(v) for v in outputs]
        return
    for folder in sorted(Path(case.model_dir).glob("test_data_set_*")):
        yield values(folder, "input", model.graph.input), values(folder, "output", model.graph.output)


def values(folder: Path, role: str, infos: Any) -> list[Any]:
    found = sorted(folder.glob(f"{role}_*.pb"), key=lambda path: int(path.stem.split("_")[-1]))
    tensors = [info.type.HasField("tensor_type") for info in infos]
    return [plain(onnx.load_tensor(path)) if tensor else None for path, tensor in zip(found, tensors, strict=False)]


def plain(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def run(case: Any, through: str) -> None:
    """Runs every data set of `case` and compares as ONNX does, by the tolerance of the case. Raises what differs."""
    model = model_of(case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ready = EdgertBackend.prepare(model, through=through)
        for inputs, expected in data_of(case, model):
            outputs = ready.run(inputs)
            Runner.assert_similar_outputs([np.asarray(v) for v in expected], outputs, case.rtol, case.atol)


def failure(case: Any, through: str) -> str:
    """'' when `case` passes, else what went wrong, in one line."""
    try:
        run(case, through)
    except (EdgertError, AssertionError) as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


def category(case: Any) -> str:
    """'training', 'string', 'sequence' (or optional), 'map', or '' for what edgert means to run."""
    model = model_of(case)
    graph = model.graph
    nodes = [*graph.node]
    if any("training" in node.domain for node in nodes) or trains(nodes, graph):
        return "training"
    kinds = [value.type for value in (*graph.input, *graph.output)]
    words = {kind.WhichOneof("value") for kind in kinds}
    if "map_type" in words:
        return "map"
    if words & {"sequence_type", "optional_type"}:
        return "sequence"
    tensors = {kind.tensor_type.elem_type for kind in kinds}
    return "string" if TensorProto.STRING in tensors else ""


def trains(nodes: list[Any], graph: Any) -> bool:
    """Whether a Dropout or BatchNormalization is in its training form."""
    for node in nodes:
        flags = {a.name: a.i for a in node.attribute}
        if node.op_type == "BatchNormalization" and flags.get("training_mode"):
            return True
        if node.op_type == "Dropout" and len(node.input) > 2:
            return True
    return False


@cache
def not_passed() -> dict[str, str]:
    """Name -> reason."""
    groups = json.loads(NOT_PASSED.read_text())
    return {name: reason for reason, names in groups.items() for name in names}
