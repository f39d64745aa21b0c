"""The wheel, installed on emulated ARM processors, gives this machine's answers: the very bits in int8, and within a
bound in float."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
