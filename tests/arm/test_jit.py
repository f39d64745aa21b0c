"""Numba on 64-bit ARM, emulated: it makes the very objects that this machine makes for it, and sessions load them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import CACHE
from plans import kernels_of

from edgert.kernels_cpu import jit
from edgert.kernels_cpu.levels import LEVELS

pytestmark = pytest.mark.long

ANSWERS = Path(__file__).with_name("answers.py")
CPU, LEVEL = "cortex-a76", LEVELS["armv8.2-dotprod"]


def test_objects_and_answers_are_the_same(
    arm64: Any, models: Callable[..., dict[str, Path]], inputs: Path, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """The compiler runs by itself: the process of a session would start it, and an emulated one can start none."""
    model = models(arm64)["int8"]
    names = ["engine", *kernels_of(model, LEVEL)]
    packages = [arm64.packages("arm64-jit-wheels")]
    there, here = (jit.cache_folder(root, LEVEL) for root in (arm64.folder / "cache", CACHE))
    compiler = ("-m", "edgert.kernels_cpu.compiler", "--level", LEVEL.name, "--out", there, *names)
    done = arm64.python(CPU, *compiler, packages=packages)
    assert done.returncode == 0, done.stderr
    jit.compile_missing(here, LEVEL, names)
    for name in map(jit.object_name, names):
        assert (there / name).read_bytes() == (here / name).read_bytes(), name

    out = tmp_path / "answers.npz"
    done = arm64.python(CPU, ANSWERS, inputs, out, model, packages=packages, EDGERT_KERNELS="jit")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["JIT", LEVEL.name]
    with np.load(out) as archive:
        np.testing.assert_array_equal(archive["arr_0"], expected["int8"])
