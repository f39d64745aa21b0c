"""Source models in their own runtimes: ONNX Runtime for .onnx, LiteRT for .tflite, any tensor of them on request.
What is compared with what is in `compare.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgert.errors import EdgertError, InputError, UnsupportedError
from edgert.graph.ir import Array


class Source(Protocol):
    """A model in its own runtime. name: of the runtime, for people. tensors: what `run` can return, by the names that
    the converter gave them; inputs and outputs: those of the model, in order."""

    name: str
    inputs: list[str]
    outputs: list[str]
    tensors: set[str]

    def run(self, feeds: Mapping[str, Array], wanted: Iterable[str]) -> dict[str, Array]:
        """Values of `wanted` for `feeds`; what the runtime does not keep is left out. A state goes on from run to
        run."""


def open_source(path: Path) -> Source:
    """The model in `path`. Raises EdgertError naming what to install, InputError for another kind of file,
    UnsupportedError where the runtime does not take the model."""
    kinds: dict[str, Callable[[Path], Source]] = {".onnx": OnnxSource, ".tflite": TfliteSource}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{path}: expected an .onnx or .tflite model, found {path.suffix or 'no suffix'}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return kind(path)


class OnnxSource:
    """ONNX Runtime without its own optimizations, so that every tensor is there and each operator is as defined."""

    def __init__(self, path: Path) -> None:
        try:
            import onnx
            import onnxruntime
        except ImportError:
            raise EdgertError(
                "running ONNX models as a reference needs onnxruntime: pip install onnx onnxruntime"
            ) from None
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self._runtime = onnxruntime
        self._path = path
        self._model: Any = onnx.load(str(path))
        graph = self._model.graph
        constants = {tensor.name for tensor in graph.initializer}
        self.inputs = [value.name for value in graph.input if value.name not in constants]
        self.outputs = [value.name for value in graph.output]
        self.tensors = {*self.outputs, *(name for node in graph.node for name in node.output if name)}
        self._sessions: dict[frozenset[str], Any] = {}

    def run(self, feeds: Mapping[str, Array], wanted: Iterable[str]) -> dict[str, Array]:
        names = list(dict.fromkeys(wanted))
        key = frozenset(names)
        try:
            if key not in self._sessions:
                self._sessions[key] = self._session(names)
            found = self._sessions[key].run(names, dict(feeds))
        except Exception as error:  # the runtime's own exceptions derive from nothing in particular
            raise UnsupportedError(f"{self._path}: {self.name} does not run the model: {error}") from error
        return {name: value for name, value in zip(names, found, strict=True) if isinstance(value, np.ndarray)}

    def _session(self, names: list[str]) -> Any:
        """A session of the model that also returns `names`."""
        import onnx

        options = self._runtime.SessionOptions()
        options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        more = [name for name in names if name not in self.outputs]
        if not more:
            return self._runtime.InferenceSession(str(self._path), options, providers=providers)
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in more)
        return self._runtime.InferenceSession(model.SerializeToString(), options, providers=providers)


class TfliteSource:
    """LiteRT with its built-in kernels and no delegate, so that every tensor is kept."""

    def __init__(self, path: Path) -> None:
        from edgert.converters.tflite.importer import tensor_indices
        from edgert.converters.tflite.reader import read_tflite

        runtime, self.name = litert()
        model = read_tflite(path)
        self._path = path
        graph = model.graphs[0]
        known = len(graph.tensors)  # the importer adds some of its own
        self._indices = {name: index for name, index in tensor_indices(model).items() if index < known}
        names: dict[int, str] = {}
        for name, index in self._indices.items():
            names.setdefault(index, name)
        self.inputs = [names[index] for index in graph.inputs]
        self.outputs = [names[index] for index in graph.outputs]
        self.tensors = {name for name, index in self._indices.items() if graph.tensors[index].data is None}
        try:
            self._interpreter: Any = runtime.Interpreter(
                str(path),
                experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise UnsupportedError(f"{path}: {self.name} does not run the model: {error}") from error

    def run(self, feeds: Mapping[str, Array], wanted: Iterable[str]) -> dict[str, Array]:
        interpreter = self._interpreter
        try:
            shapes = {detail["index"]: tuple(detail["shape"]) for detail in interpreter.get_input_details()}
            resized = [name for name, value in feeds.items() if shapes[self._indices[name]] != value.shape]
            for name in resized:
                interpreter.resize_tensor_input(self._indices[name], feeds[name].shape)
            if resized:
                interpreter.allocate_tensors()
            for name, value in feeds.items():
                interpreter.set_tensor(self._indices[name], value)
            interpreter.invoke()
        except (RuntimeError, ValueError, KeyError) as error:
            raise UnsupportedError(f"{self._path}: {self.name} does not run the model: {error}") from error
        found: dict[str, Array] = {}
        for name in wanted:
            try:
                found[name] = interpreter.get_tensor(self._indices[name])
            except ValueError:  # a tensor the runtime fused away itself
                continue
        return found


def litert() -> tuple[Any, str]:
    """(the module with `Interpreter`, its name and version). Raises EdgertError when none is installed."""
    for package in ("ai_edge_litert", "tflite_runtime"):
        try:
            version = getattr(import_module(package), "__version__", "")
            return import_module(f"{package}.interpreter"), f"{package} {version}".strip()
        except ImportError:
            continue
    raise EdgertError("running TFLite models as a reference needs ai-edge-litert: pip install ai-edge-litert")
