"""Other runtimes behind one call, `Runner.run(feeds)`, so that benchmarks can alternate them with edgert.

Each import is local: a peer that is not installed is left out and named.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Feeds = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass
class Runner:
    """One runtime with one model at one thread count. run(feeds) -> outputs in model order."""

    name: str
    version: str
    run: Callable[[Feeds], list[Any]]


def installed(make: Callable[[Path, int], Runner], path: Path, threads: int) -> list[Runner]:
    """[make(path, threads)], or nothing, with a word, when that runtime is not installed."""
    try:
        return [make(path, threads)]
    except ImportError as error:
        print(f"left out: {error.name} is not installed", file=sys.stderr)
        return []


def edgert(path: Path, threads: int, shapes: Mapping[str, int]) -> Runner:
    import edgert as library

    session = library.load(path, threads=threads, shapes=shapes)
    return Runner(f"edgert {path.stem}", library.__version__, lambda feeds: session.run(None, feeds))


def onnxruntime(path: Path, threads: int) -> Runner:
    import onnxruntime as library

    library.set_default_logger_severity(3)
    options = library.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Runner(f"ONNX Runtime {path.stem}", library.__version__, lambda feeds: session.run(None, dict(feeds)))


def openvino(path: Path, threads: int) -> Runner:
    import openvino as library

    core = library.Core()
    model = core.read_model(path)
    if model.is_dynamic():
        model.reshape({port: [1, *list(port.get_partial_shape())[1:]] for port in model.inputs})
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(feeds: Feeds) -> list[Any]:
        return [np.asarray(v) for v in request.infer(dict(feeds)).values()]

    return Runner(f"OpenVINO {path.stem}", library.__version__, run)
