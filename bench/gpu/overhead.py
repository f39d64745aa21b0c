"""What the OpenCL path costs around its kernels: enqueuing in four ways, waiting, the first start and the next ones.

On a device that is the processor itself (PoCL, Intel's runtime) the native path runs on the same cores: what is left of
the difference is the kernels' and the driver's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import edgert
from bench.efficientnet import FLOAT, INT8, models
from bench.measure import machine, save
from edgert.cache import cache_root
from edgert.kernels_cpu.library import open_library
from edgert.kernels_gpu.device import choose
from edgert.kernels_gpu.replay import Enqueuer
from edgert.kernels_gpu.sequence import FORMS
from edgert.kernels_gpu.sequence import Sequence as Commands
from edgert.runtime.gpu_executable import GpuExecutable

DEVICE = os.environ.get("EDGERT_BENCH_DEVICE", "opencl")
FEEDS = {"input": np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)}
START = """
import json, sys, time
begin = time.perf_counter()
import numpy as np, edgert
session = edgert.load(sys.argv[1], device=sys.argv[2], shapes=json.loads(sys.argv[3]))
loaded = time.perf_counter()
names = [value.name for value in session.get_inputs()]
session.run({name: np.zeros([1, 3, 224, 224], np.float32) for name in names})
print(json.dumps({"load": loaded - begin, "first answer": time.perf_counter() - begin}))
"""


def start(path: Path, cache: Path) -> dict[str, float]:
    """Seconds from the start of Python's work to the first answer, in a process of its own."""
    command = [sys.executable, "-c", START, str(path), DEVICE, json.dumps({"N": 1})]
    environment = {**os.environ, "EDGERT_CACHE": str(cache), "POCL_CACHE_DIR": str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def milliseconds(call: Callable[[], object], rounds: int) -> dict[str, float]:
    """Of one call, after a warm one."""
    call()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begin))
    return {"best": min(times), "median": median(times)}


def enqueuing(executable: GpuExecutable, rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds per command of the host's thread, and milliseconds until all are done, by form; and as pyopencl's
    users do it: arguments set for every call."""
    context = executable.context
    commands = [c for part in executable._parts if hasattr(part, "_sequence") for c in part._sequence.commands]
    enqueuer = Enqueuer(open_library(executable.plan.level, cache_root()))
    forms: dict[str, Callable[[], object]] = {}
    for form in FORMS:
        if form != "command buffer" or context.device.capabilities.command_buffer:
            forms[form] = Commands(context, commands, form, enqueuer).enqueue

    def plainly() -> None:
        for command in commands:
            command.kernel(context.queue, command.items, command.group, *command.arguments)

    forms["arguments set for every call"] = plainly
    table = {}
    for name, enqueue in forms.items():
        host, whole = [], []
        for _ in range(rounds + 1):
            context.finish()
            thread, begin = time.thread_time(), time.perf_counter()
            enqueue()
            host.append(1e6 * (time.thread_time() - thread) / len(commands))
            context.finish()
            whole.append(1e3 * (time.perf_counter() - begin))
        table[name] = {
            "host us per command": median(host[1:]), "at best": min(host[1:]), "ms until done": median(whole[1:]),
        }  # fmt: skip
    return table


def examine(path: Path, rounds: int) -> dict[str, Any]:
    """Everything about one model."""
    row: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as cache:
        row["start"] = {name: start(path, Path(cache)) for name in ("cold", "warm")}
    for threads in (1, os.cpu_count() or 1):
        with edgert.load(path, threads=threads, shapes={"N": 1}) as session:
            row[f"native, {threads} threads"] = milliseconds(lambda s=session: s.run(FEEDS), rounds)
    with edgert.load(path, device=DEVICE, shapes={"N": 1}) as session:
        row["opencl"] = milliseconds(lambda: session.run(FEEDS), rounds)
        profile = [session.profile(FEEDS) for _ in range(3)]
        row["opencl, by the device's clock"] = min(sum(op.us for op in ops) for ops in profile) / 1e3
        row["summary"] = session.summary()
        (executable,) = session._ready.values()
        row["enqueuing"] = enqueuing(executable, rounds)  # type: ignore[arg-type]
    return row


def run(threads: Sequence[int], rounds: int, out: Path) -> None:
    """Prints the numbers and writes the record to `out`."""
    device = choose(DEVICE)
    record: dict[str, Any] = {"machine": machine(), "device": device.described(), "results": {}}
    with tempfile.TemporaryDirectory() as folder:
        paths = models(Path(folder))
        for name in (FLOAT, INT8):
            record["results"][name] = row = examine(paths[name], rounds)
            print(f"EfficientNet-Lite0 {name}, {device.described()}\n{json.dumps(row, indent=1)}", flush=True)
    save(out, record)
