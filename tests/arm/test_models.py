"""The wheel, installed on emulated ARM processors, gives this machine's answers: the very bits in int8, and within a
bound in float."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import CACHE
from plans import kernels_of

from edgert.kernels_cpu.aot_build import build_all
from edgert.kernels_cpu.levels import LEVELS

ANSWERS = Path(__file__).with_name("answers.py")

FLOAT_BOUND = 1e-6
"""Of the largest logit: each level adds products up in an order of its own. Seen: 4.8e-7 in logits of up to 20."""

CPUS = [
    ("aarch64", "cortex-a53", "armv8-a"),
    ("aarch64", "cortex-a76", "armv8.2-dotprod"),
    pytest.param("aarch64", "cortex-a72", "armv8-a", marks=pytest.mark.long),
    pytest.param("aarch64", "max", "armv8.2-dotprod", marks=pytest.mark.long),
    pytest.param("armv7l", "cortex-a7", "armv7-neon", marks=pytest.mark.long),
]


@pytest.mark.parametrize(("arch", "cpu", "level"), CPUS)
def test_answers(
    arch: str, cpu: str, level: str, device: Callable[[str], Any], models: Callable[..., dict[str, Path]], inputs: Path,
    expected: dict[str, np.ndarray], tmp_path: Path,
) -> None:  # fmt: skip
    emulator, out = device(arch), tmp_path / "answers.npz"
    files = models(emulator)
    done = emulator.python(cpu, ANSWERS, inputs, out, *files.values())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"AOT {level}"] * len(files)
    with np.load(out) as archive:
        found = dict(zip(files, archive.values(), strict=True))
    for form in files:
        assert (found[form].argmax(1) == np.arange(10)).all()
        if form.endswith("int8"):
            np.testing.assert_array_equal(found[form], expected[form])
    bound = FLOAT_BOUND * float(np.abs(expected["f32"]).max())
    np.testing.assert_allclose(found["f32"], expected["f32"], rtol=0, atol=bound)


@pytest.mark.long
def test_the_widest_level(
    arm64: Any, models: Callable[..., dict[str, Path]], inputs: Path, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """A library of the kernels of one model alone: all of them would be compiled for this test."""
    level, model, out = LEVELS["armv8.6-i8mm"], models(arm64)["int8"], tmp_path / "answers.npz"
    build_all([level], tmp_path / "lib", cache=CACHE, names=kernels_of(model, level))
    done = arm64.python("max", ANSWERS, inputs, out, model, EDGERT_KERNEL_FOLDER=tmp_path / "lib")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["AOT", level.name]
    with np.load(out) as archive:
        np.testing.assert_array_equal(archive["arr_0"], expected["int8"])
    done = arm64.python("cortex-a76", ANSWERS, inputs, out, model, EDGERT_KERNEL_FOLDER=tmp_path / "lib")
    assert done.returncode == 1
    assert f"has no library of armv8.2-dotprod, armv8-a, but of {level.name}" in done.stderr.splitlines()[-1]
