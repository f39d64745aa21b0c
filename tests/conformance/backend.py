"""edgert as a backend of ONNX's own conformance suite: import, pack, session, as a user's model goes.
Which cases there are and which pass is in `suite.py`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep
from onnx.helper import tensor_dtype_to_np_dtype

from edgert.converters.onnx.importer import import_onnx
from edgert.converters.pack import pack_model
from edgert.format import ModelInfo
from edgert.graph.execute import run_graph
from edgert.graph.ir import DTYPES, Graph
from edgert.runtime.session import Session


class EdgertRep(BackendRep):
    """A model ready to run. `through` is 'session' (the product) or 'reference' (the interpreter over NumPy)."""

    def __init__(self, model: onnx.ModelProto, graph: Graph, through: str) -> None:
        self.graph, self.through = graph, through
        self.inputs = [value.name for value in model.graph.input]
        self.wanted = [tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in model.graph.output]

    def run(self, inputs: Sequence[Any], **kwargs: Any) -> tuple[Any, ...]:
        # Inputs with an initializer are constants to edgert; cases give them or leave them out.
        names = self.inputs if len(inputs) == len(self.inputs) else self.graph.inputs
        given = dict(zip(names, inputs, strict=True))
        feeds = {name: held(given[name]) for name in self.graph.inputs}
        if self.through == "reference":
            made = run_graph(self.graph, feeds)
        else:
            with Session(pack_model(self.graph, ModelInfo(), {}, {}), threads=1) as session:
                made = session.run(feeds)
        # Values of narrow types are held wide; those that had not been rounded would differ after this.
        return tuple(as_declared(made[name], kind) for name, kind in zip(self.graph.outputs, self.wanted, strict=True))


def held(value: Any) -> np.ndarray[Any, Any]:
    """`value` as graphs hold it: narrow floats as float32, narrow integers as int8 or uint8."""
    array = np.asarray(value)
    if array.dtype.name in DTYPES:
        return array
    return array.astype(
        {"int4": "int8", "int2": "int8", "uint4": "uint8", "uint2": "uint8"}.get(array.dtype.name, "f4")
    )


def as_declared(array: np.ndarray[Any, Any], kind: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """`array` in the type that the model declares, if it is one that graphs do not have."""
    return array if kind.name in DTYPES else array.astype(kind)


class EdgertBackend(Backend):
    """`prepare` imports the model; nothing else of the interface is needed by the suite."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> EdgertRep:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(model.SerializeToString())
            return EdgertRep(model, import_onnx(path), kwargs.get("through", "session"))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == "CPU"
