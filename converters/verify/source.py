"""Source models in their own runtimes: ONNX Runtime for .onnx, LiteRT for .tflite, any tensor of them on request.
What is compared with what is in `compare.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    """LiteRT as applications run it, with its default kernels: those of other resolvers give int8 networks other
    numbers, tens of steps apart after some layers. Tensors inside are made outputs."""

    def __init__(self, path: Path) -> None:
        from edgert.converters.tflite.importer import tensor_indices
        from edgert.converters.tflite.reader import read_tflite

        self._runtime, self.name = litert()
        model = read_tflite(path)
        self._path = path
        graph = model.graphs[0]
        known = len(graph.tensors)  # the importer adds some of its own
        self._indices = {name: index for name, index in tensor_indices(model).items() if index < known}
        names: dict[int, str] = {}
        for name, index in self._indices.items():
            names.setdefault(index, name)
        self.inputs = [names[index] for index in graph.inputs]
        # One that the importer refuses has no name; then no file can be made of the model either.
        self.outputs = [names[index] for index in graph.outputs if index in names]
        self.tensors = {name for name, index in self._indices.items() if graph.tensors[index].data is None}
        self._interpreters: dict[frozenset[str], Any] = {}
        self._interpreter(())

    def run(self, feeds: Mapping[str, Array], wanted: Iterable[str]) -> dict[str, Array]:
        names = list(dict.fromkeys(wanted))
        interpreter = self._interpreter([name for name in names if name not in self.outputs])
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
        for name in names:
            try:
                found[name] = interpreter.get_tensor(self._indices[name])
            except ValueError:  # a tensor the runtime fused away itself
                continue
        return found

    def _interpreter(self, more: Iterable[str]) -> Any:
        """An interpreter that also keeps the tensors `more`."""
        key = frozenset(more)
        if key in self._interpreters:
            return self._interpreters[key]
        try:
            if key:
                indices = sorted({self._indices[name] for name in (*self.outputs, *key)})
                made = self._runtime.Interpreter(model_content=with_outputs(self._path, indices))
            else:
                made = self._runtime.Interpreter(str(self._path))
            made.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            said = str(error).partition("\n")[0]  # advice for its own developers follows
            raise UnsupportedError(
                f"{self._path}: {self.name} does not run the model, so nothing can be compared: {said}"
            ) from error
        self._interpreters[key] = made
        return made


SUBGRAPHS, SUBGRAPH_OUTPUTS = 2, 2
"""Slots of Model.subgraphs and SubGraph.outputs. Source: tensorflow/lite/schema/schema.fbs."""


def with_outputs(path: Path, indices: Sequence[int]) -> bytes:
    """The TFLite file `path`, whose first graph has the tensors `indices` as its outputs: their list is written behind
    the file, and the graph's offset points there. Raises UnsupportedError for a file too large for that."""
    from edgert.converters.tflite.flat import MAX_FLATBUFFER_BYTES, Flat
    from edgert.converters.tflite.reader import MAX_GRAPHS
    from edgert.converters.tflite.schema import FILE_IDENTIFIER

    data = bytearray(path.read_bytes())
    flat = Flat(path, np.frombuffer(bytes(data), np.uint8))
    graph = next(flat.root(FILE_IDENTIFIER).tables(SUBGRAPHS, "sub-graphs", MAX_GRAPHS))
    place = graph.field(SUBGRAPH_OUTPUTS, 4)
    data += bytes(-len(data) % 4)
    if place is None or len(data) > MAX_FLATBUFFER_BYTES:
        raise UnsupportedError(f"{path}: expected outputs in a flatbuffer of less than 2 GiB to look inside")
    data[place : place + 4] = (len(data) - place).to_bytes(4, "little")
    return bytes(data + np.array([len(indices), *indices], "<u4").tobytes())


def litert() -> tuple[Any, str]:
    """(the module with `Interpreter`, its name and version). Raises EdgertError when none is installed."""
    for package in ("ai_edge_litert", "tflite_runtime"):
        try:
            version = getattr(import_module(package), "__version__", "")
            return import_module(f"{package}.interpreter"), f"{package} {version}".strip()
        except ImportError:
            continue
    raise EdgertError("running TFLite models as a reference needs ai-edge-litert: pip install ai-edge-litert")
