"""Other runtimes behind one call, `Runner.run(feeds)`, so that benchmarks can alternate them with edgert.

Each import is local: a peer that is not installed is left out and named.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Feeds = Mapping[str, "np.ndarray[Any, Any]"]
WORKER = Path(__file__).with_name("deepsparse_worker.py")


@dataclass
class Runner:
    """One runtime with one model at one thread count. run(feeds) -> outputs in model order.

    timed: of a runtime in a process of its own, timed(n): the milliseconds of a run after n unmeasured ones."""

    name: str
    version: str
    run: Callable[[Feeds], list[Any]]
    timed: Callable[[int], float] | None = None


def installed(make: Callable[[Path, int], Runner], path: Path, threads: int) -> list[Runner]:
    """[make(path, threads)], or nothing, with a word, when that runtime is not installed."""
    try:
        return [make(path, threads)]
    except ImportError as error:
        print(f"left out: {error.name} is not installed", file=sys.stderr)
        return []


def edgert(path: Path, threads: int, shapes: Mapping[str, int], sparse: str = "auto") -> Runner:
    import edgert as library

    session = library.load(path, threads=threads, shapes=shapes, sparse=sparse)
    name = f"edgert {path.stem}" + ("" if sparse == "auto" else f", {sparse} sparse")
    return Runner(name, library.__version__, lambda feeds: session.run(None, feeds))


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


def litert(path: Path, threads: int) -> Runner:
    """A .tflite model as LiteRT runs it by default, with XNNPACK, which skips the zeros of sparse weights."""
    import ai_edge_litert
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(str(path), num_threads=threads)
    model.allocate_tensors()
    inputs = [details["index"] for details in model.get_input_details()]
    outputs = [details["index"] for details in model.get_output_details()]

    def run(feeds: Feeds) -> list[Any]:
        # by position: people know inputs by the names of the signature, the interpreter by those of tensors
        for index, value in zip(inputs, feeds.values(), strict=True):
            model.set_tensor(index, value)
        model.invoke()
        return [model.get_tensor(index) for index in outputs]

    return Runner(f"LiteRT {path.stem}", ai_edge_litert.__version__, run)


def deepsparse(path: Path, threads: int) -> Runner:
    """By the Python that DEEPSPARSE_PYTHON names: its last version needs an older NumPy. Raises ImportError."""
    python = os.environ.get("DEEPSPARSE_PYTHON", sys.executable)
    worker = subprocess.Popen(
        [python, str(WORKER), str(path), str(threads)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert worker.stdin is not None and worker.stdout is not None
    answers, questions = worker.stdout, worker.stdin
    # whatever it greets with comes before
    first = next((line for line in answers if line.startswith("{")), "")
    if not first:
        raise ImportError("DEEPSPARSE_PYTHON names no Python that has it", name="deepsparse")

    def timed(warm: int) -> float:
        questions.write(f"{warm}\n")
        questions.flush()
        return float(answers.readline())

    atexit.register(worker.kill)
    return Runner(f"DeepSparse {path.stem}", json.loads(first)["version"], lambda _: [timed(0)], timed)
