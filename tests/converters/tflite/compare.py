"""One TFLite operator through edgert and through LiteRT: `Case` describes it, `check` compares the two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from flat_model import FlatModel

from edgert.converters.tflite.importer import import_tflite
from edgert.graph.execute import run_graph
from edgert.graph.ir import Array


@dataclass(frozen=True)
class Const:
    """An input that is a constant of the file."""

    value: Any
    dtype: str = "int32"

    @property
    def array(self) -> Array:
        return self.value if isinstance(self.value, np.ndarray) else np.array(self.value, self.dtype)


class Case:
    """Operator `op` of inputs: arrays are fed, Const is in the file, None is absent. outputs: dtype of each."""

    def __init__(self, op: str, *inputs: Any, outputs: tuple[str, ...] = ("float32",), **options: Any) -> None:
        self.op, self.inputs, self.outputs = op, inputs, outputs
        self.version = options.pop("version", 1)
        self.custom = options.pop("custom", None)
        self.free = options.pop("free", ())
        self.options = options

    def __str__(self) -> str:
        shapes = "-".join("x".join(map(str, np.shape(getattr(i, "value", i)))) or "s" for i in self.inputs)
        chosen = "-".join(f"{v}" for v in self.options.values() if not isinstance(v, list))
        return f"{self.op}-{shapes}-{chosen}"

    def build(self, shapes: list[tuple[int, ...]]) -> FlatModel:
        """A model of this operator alone. `free`: numbers of the inputs whose first size is free."""
        m = FlatModel()
        indices = []
        for i, given in enumerate(self.inputs):
            if given is None:
                indices.append(-1)
            elif isinstance(given, Const):
                indices.append(m.constant(f"c{i}", given.array))
            else:
                signature = [-1, *given.shape[1:]] if i in self.free else None
                indices.append(m.input(f"x{i}", given.shape, given.dtype.name, signature=signature))
        declared = [(f"y{i}", shape, dtype) for i, (shape, dtype) in enumerate(zip(shapes, self.outputs, strict=True))]
        made = m.op(self.op, indices, declared, custom=self.custom, version=self.version, **self.options)
        m.output(*made)
        return m


def litert(path: Path, feeds: list[Array]) -> list[Array]:
    """The outputs of LiteRT's own kernels, without delegates."""
    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=kind, num_threads=1)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), feeds, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def feeds_of(case: Case) -> list[Array]:
    return [given for given in case.inputs if isinstance(given, np.ndarray)]


def check(case: Case, folder: Path, rtol: float = 2e-6, atol: float = 2e-6) -> list[Array]:
    """Asserts that edgert gives LiteRT's outputs, of equal dtype and shape. Returns them."""
    path, feeds = folder / "m.tflite", feeds_of(case)
    case.build([()] * len(case.outputs)).save(path)
    wanted = litert(path, feeds)
    case.build([value.shape for value in wanted]).save(path)
    graph = import_tflite(path)
    found = run_graph(graph, dict(zip(graph.inputs, feeds, strict=True)))
    for name, want in zip(graph.outputs, wanted, strict=True):
        got = found[name]
        assert got.dtype == want.dtype and got.shape == want.shape, (name, got.dtype, got.shape, want.dtype, want.shape)
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=name)
    return wanted
