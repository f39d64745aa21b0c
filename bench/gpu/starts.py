"""`python -m bench opencl-start`: from the start of a process to the first answer on an OpenCL device, with every cache
empty and with those that the first start left behind; beside it the native path and the straightforward runtime.

The first answer is an image of EfficientNet-Lite0, or a token of SmolLM2 after a short prompt. edgert's cache has the
programs and which tile of each kernel is the fastest; PoCL and pyopencl keep what they build as well. Native kernels
are there from the beginning, as in a wheel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.gpu.compare import CONTEXT, DEVICE, FLOAT, INT8, LANGUAGE, NAIVE, NATIVE, OURS, keep, models, rounded
from bench.measure import machine
from edgert.cache import cache_root
from edgert.kernels_gpu.device import choose

NETWORK = """
import sys, numpy as np, edgert
session = edgert.load(sys.argv[1], device=sys.argv[2], shapes={"N": 1})
session.run({"input": np.zeros([1, 3, 224, 224], np.float32)})
print("answer", flush=True)
"""
TEXT = """
import sys, edgert
llm = edgert.LLM(sys.argv[1], device=sys.argv[2], n_ctx=int(sys.argv[3]))
next(iter(llm.generate("The printing press was", temperature=0.0, max_tokens=1)))
print("answer", flush=True)
"""
STRAIGHT = """
import sys, numpy as np
from bench.gpu.naive import Naive
from edgert.format import read_model
from edgert.kernels_gpu.device import choose, import_pyopencl
model = read_model(sys.argv[1])
sizes = {"T": 1, "C": int(sys.argv[3])} if model.graph.states else {"N": 1}
runtime = Naive(import_pyopencl(), choose(sys.argv[2]).handle, model, sizes)
if model.graph.states:
    for position in range(4):
        feeds = {"tokens": np.array([504 + position], np.int32), "positions": np.array([position], np.int32)}
        runtime.run(feeds)
else:
    runtime.run({"input": np.zeros([1, 3, 224, 224], np.float32)})
print("answer", flush=True)
"""


def seconds(code: str, path: Path, device: str, caches: Mapping[str, str]) -> float:
    """From the start of a process to its answer. Raises SystemExit if there is none."""
    begin = time.perf_counter()
    command = [sys.executable, "-c", code, str(path), device, str(CONTEXT)]
    child = subprocess.Popen(command, env={**os.environ, **caches}, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    answered = any(line == "answer\n" for line in child.stdout)
    took = time.perf_counter() - begin
    child.wait()
    if not answered or child.returncode:
        raise SystemExit(f"{path.stem} on {device}: the process ended with {child.returncode} and no answer")
    return took


def examine(name: str, path: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds of one model's first answers, cold and warm in turn."""
    code = TEXT if name == LANGUAGE else NETWORK
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for kind, program in ((OURS, code), (NAIVE, STRAIGHT)):
            with tempfile.TemporaryDirectory() as folder:
                caches = {key: f"{folder}/{key}" for key in ("EDGERT_CACHE", "POCL_CACHE_DIR", "XDG_CACHE_HOME")}
                Path(folder, "EDGERT_CACHE").mkdir()
                Path(folder, "EDGERT_CACHE", "kernels").symlink_to(cache_root() / "kernels")
                for start in ("cold", "warm"):
                    times.setdefault(f"{kind}, {start}", []).append(seconds(program, path, DEVICE, caches))
        times.setdefault(f"{NATIVE}, warm", []).append(seconds(code, path, "cpu", {}))
    return {key: {"median": median(values), "runs": values} for key, values in times.items()}


def run(threads: Sequence[int], rounds: int, out: Path) -> None:
    """Prints the numbers and puts those of the device into the record `out`, which may have others."""
    device = choose(DEVICE)
    record: dict[str, Any] = {"machine": machine(), "device": device.described(), "seconds": {}}
    record["machine"]["command"] = f"EDGERT_BENCH_DEVICE={DEVICE} {record['machine']['command']}"
    with tempfile.TemporaryDirectory() as temporary:
        paths = models(Path(os.environ.get("EDGERT_BENCH_MODELS", temporary)))
        for name in (FLOAT, INT8, LANGUAGE):
            record["seconds"][name] = row = examine(name, paths[name], rounds)
            print(name, json.dumps(rounded({key: value["median"] for key, value in row.items()})), flush=True)
    keep(out, f"{device.platform}, {device.driver}", record)
