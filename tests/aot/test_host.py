"""Libraries built ahead of time give the very bits that just-in-time kernels give, without Numba and LLVM at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from harness import shared_library

from edgert.kernels_cpu.levels import LEVELS, host_levels

HOST = [level.name for level in host_levels()]
AOT_LEVEL = "x86-64-v3"
COMPILERS = ("numba", "llvmlite", "onnx")
needs_avx2 = pytest.mark.skipif(AOT_LEVEL not in HOST, reason="this processor can not run x86-64-v3")


@pytest.fixture
def answer(tmp_path: Path, samples: np.ndarray, repo_root: Path) -> Callable[..., tuple[str, dict[str, np.ndarray]]]:
    """answer(model, blocked modules, threads, **environment) -> (what the process printed, its outputs)."""
    np.save(tmp_path / "inputs.npy", samples)

    def get(model: Path, blocked: tuple[str, ...] = (), threads: int = 1, **environment: str):  # type: ignore[no-untyped-def]
        script = Path(__file__).with_name("answer.py")
        out = tmp_path / "outputs.npz"
        done = subprocess.run(
            [sys.executable, script, model, tmp_path / "inputs.npy", out, str(threads), *blocked],
            env={**os.environ, "PYTHONPATH": str(repo_root), **environment},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        with np.load(out) as archive:
            return done.stdout.strip(), dict(archive)

    return get


@needs_avx2
@pytest.mark.parametrize("weights", ["f32", "int8"])
def test_library_without_numba_equals_jit(answer, default_model: Callable[[str], Path], weights: str) -> None:
    folder = shared_library(LEVELS[AOT_LEVEL]).parent
    aot = {"EDGERT_KERNELS": "aot", "EDGERT_KERNEL_FOLDER": str(folder), "EDGERT_ISA": AOT_LEVEL}
    said, expected = answer(default_model(weights), EDGERT_KERNELS="jit", EDGERT_ISA=AOT_LEVEL)
    assert said == f"JIT {AOT_LEVEL}"
    for threads in (1, 2):
        said, found = answer(default_model(weights), COMPILERS, threads, **aot)
        assert said == f"AOT {AOT_LEVEL}"
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)
    assert (next(iter(found.values())).argmax(1) == np.arange(10)).all()


def test_jit_without_numba_says_what_to_install(
    default_model: Callable[[str], Path], tmp_path: Path, samples: np.ndarray, repo_root: Path
) -> None:
    np.save(tmp_path / "inputs.npy", samples)
    script = Path(__file__).with_name("answer.py")
    done = subprocess.run(
        [sys.executable, script, default_model("f32"), tmp_path / "inputs.npy", tmp_path / "o.npz", "1", *COMPILERS],
        env={**os.environ, "PYTHONPATH": str(repo_root), "EDGERT_KERNELS": "jit"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "KernelError" in done.stderr.splitlines()[-1]
    assert "pip install 'edgert[jit]'" in done.stderr.splitlines()[-1]


def test_int8_answers_are_the_same_bits_at_every_level(answer, default_model: Callable[[str], Path]) -> None:
    answers = [answer(default_model("int8"), EDGERT_KERNELS="jit", EDGERT_ISA=name)[1] for name in HOST]
    for name, found in zip(HOST[1:], answers[1:], strict=True):
        for output, values in answers[0].items():
            np.testing.assert_array_equal(found[output], values, err_msg=name)
