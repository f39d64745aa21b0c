"""Runs in the emulator: infer.py RUNTIME MODEL CALLS. Prints a hash of the output, or text, and the memory map.

RUNTIME is edgert, onnxruntime or litert; decode generates CALLS tokens with edgert, prefill reads as many. One thread.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def values(shape: Any, dtype: Any) -> np.ndarray:
    """A fixed random input; free dimensions are 1."""
    rng, shape = np.random.default_rng(0), [d if isinstance(d, int) and d > 0 else 1 for d in shape]
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 100, shape).astype(dtype)


def edgert_call(path: str) -> Callable[[], np.ndarray]:
    import edgert

    session = edgert.load(path, threads=1)
    feeds = {i.name: values(i.shape, i.dtype) for i in session.get_inputs()}
    return lambda: next(iter(session.run(feeds).values()))


def onnxruntime_call(path: str) -> Callable[[], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {i.name: values(i.shape, np.float32) for i in session.get_inputs()}
    return lambda: session.run(None, feeds)[0]


def litert_call(path: str) -> Callable[[], np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    for i in interpreter.get_input_details():
        interpreter.set_tensor(i["index"], values(i["shape"].tolist(), i["dtype"]))
    output = interpreter.get_output_details()[0]["index"]

    def call() -> np.ndarray:
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(output))

    return call


def text_after(path: str, prompt: str, tokens: int) -> bytes:
    """What a language model adds to the prompt."""
    import edgert

    model = edgert.LLM(path, threads=1, n_ctx=128)
    return str(model.create_completion(prompt, max_tokens=tokens, temperature=0)["choices"][0]["text"]).encode()


def main() -> None:
    runtime, path, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if runtime == "decode":
        result = text_after(path, "The capital of France is", calls)
    elif runtime == "prefill":
        result = text_after(path, "The" + " capital" * (calls - 1), 1)
    else:
        call = {"edgert": edgert_call, "onnxruntime": onnxruntime_call, "litert": litert_call}[runtime](path)
        for _ in range(calls):
            output = call()
        result = np.ascontiguousarray(output).tobytes()
    print("hash", hashlib.sha256(result).hexdigest()[:16])
    maps = Path("/proc/self/maps").read_text().splitlines()
    print(*(f"map {line}" for line in maps if "libedgert" in line), sep="\n")


main()
