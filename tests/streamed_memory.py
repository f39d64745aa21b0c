"""What a process that streams a network says of its memory: for the tests of real networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import edgert
from edgert.format import read_model
from edgert.format.parts import Parts

MEASURED = Path("/proc/self/status").exists()
"""Whether this system says how much memory a process has."""

OVERHEAD = 8 << 20
"""Bytes that a process has grown by besides its plan: Python objects of the graph and the plan, code of kernels, stacks
of threads. The interpreter and libraries are there before."""

CHILD = """
import gc, json, sys
from pathlib import Path
import numpy as np
import edgert
sys.path.insert(0, {tests!r})
from networks import float_model
from edgert.runtime.session import Session
import edgert.runtime.gates, edgert.runtime.stream_plan

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

x = dict(np.load({feeds!r}))
with Session(float_model(1)) as session:  # what compiled kernels take once
    session.run({{"image": np.zeros((1, 3, 12, 12), np.float32)}})
gc.collect()
before = memory("VmRSS:")
ram = {ram}
session = edgert.load({path!r}, ram=ram or None, threads=2)
for _ in range(3):
    found = session.run(x)
np.savez({out!r}, **found)
peak = memory("VmHWM:") - before
used = memory("VmRSS:") - before
kept = session.trim()
gc.collect()
trimmed = memory("VmRSS:") - before
again = session.run(x)
same = all(np.array_equal(again[name], found[name]) for name in found)
summary = session.summary()
print(json.dumps(dict(peak=peak, used=used, kept=kept, trimmed=trimmed, after=memory("VmRSS:") - before, same=same,
                      summary=summary)))
"""


def weights(path: Path) -> int:
    """Bytes of the parts that streaming reads: all but those of a few rows."""
    return sum(tensor.nbytes for tensor in read_model(path).tensors.values() if isinstance(tensor.parts, Parts))


def child(path: Path, ram: int, x: dict[str, np.ndarray], folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a process that runs the model three times and then trims says of its memory, and the answers."""
    np.savez(folder / "x.npz", **x)
    code = CHILD.format(
        tests=str(Path(__file__).parent), feeds=str(folder / "x.npz"), ram=ram, path=str(path),
        out=str(folder / "y.npz"),
    )  # fmt: skip
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    with np.load(folder / "y.npz") as found:
        return json.loads(result.stdout), dict(found)


def check_half(path: Path, folder: Path) -> None:
    """Asserts that a process with half of the weights in memory gives the answers of one with all of them, within the
    memory that it promised; and that a process that trims gives back at least most of what the weights take."""
    rng = np.random.default_rng(0)
    with edgert.load(path) as session:
        shapes = {value.name: [1 if isinstance(d, str) else d for d in value.shape] for value in session.get_inputs()}
        x = {value.name: rng.random(shapes[value.name]).astype(value.dtype) for value in session.get_inputs()}
        expected = session.run(x)
        ram = session.plan().memory.total - weights(path) // 2
    for budget in (ram, 0):
        said, found = child(path, budget, x, folder)
        print(path.stem, budget, {key: value for key, value in said.items() if key != "summary"})
        assert all(np.array_equal(found[name], expected[name]) for name in expected) and said["same"]
        assert " read for each run" in said["summary"], "after it was trimmed it streams"
        if budget:
            assert said["peak"] <= budget + OVERHEAD
        else:
            assert said["used"] - said["trimmed"] >= 0.8 * weights(path)
        assert said["after"] <= said["kept"] + OVERHEAD
