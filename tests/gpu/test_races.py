"""Twins under Oclgrind: no races, nothing beyond a buffer. A planted fault of each kind is found.

Oclgrind interprets every work-item, so that small shapes are chosen here; `make test-gpu` has the others.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import opencl
import pytest

KERNELS = Path(__file__).parents[1] / "kernels"
SHORT = "test_binary_q8_constant or test_binary_f32_constant or lets_nan or largest_of_a_few"
"""Of the tests of kernels; every family of twins adds what is quick."""

PLANTED = """
import numpy as np
import pyopencl as cl
context = cl.Context(cl.get_platforms()[0].get_devices())
queue = cl.CommandQueue(context)
kernel = cl.Kernel(cl.Program(context, {source!r}).build(cache_dir=False), "f")
buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE, 256)
kernel.set_args(buffer)
cl.enqueue_nd_range_kernel(queue, kernel, (64,), (64,))
queue.finish()
print(context.devices[0].name)
"""
SUM = """__kernel void f(__global int *y) {
    __local int part[64];
    const int i = get_local_id(0);
    part[i] = i;
    %s
    y[i] = part[63 - i];
}"""


def planted(source: str, log: Path) -> str:
    """What Oclgrind writes of one kernel with 64 work-items and 64 ints."""
    command = [sys.executable, "-c", PLANTED.format(source=source)]
    done = subprocess.run(command, env=opencl.oclgrind(log), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "Oclgrind" in done.stdout, done.stdout + done.stderr
    return log.read_text("utf-8")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (SUM % "barrier(CLK_LOCAL_MEM_FENCE);", ""),
        (SUM % "", "data race at local memory"),
        ("__kernel void f(__global int *y) { y[get_global_id(0) / 2] = get_global_id(0); }", "Write-write data race"),
        ("__kernel void f(__global int *y) { y[get_global_id(0) + 1] = 1; }", "Invalid write of size 4"),
        ("__kernel void f(__global int *y) { y[0] = get_global_id(0) == 63 ? y[64] : 0; }", "Invalid read of size 4"),
    ],
)
def test_planted_faults(source: str, found: str, tmp_path: Path) -> None:
    said = planted(source, tmp_path / "log")
    assert found in said if found else not said


def test_twins(tmp_path: Path) -> None:
    log = tmp_path / "log"
    environment = {**opencl.oclgrind(log), "EDGERT_TEST_DEVICE": "opencl:0"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(KERNELS), "-k", SHORT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout and not log.read_text("utf-8"), log.read_text("utf-8")[:4000]
