"""The default model on ARM processors gives this machine's answers: the very bits in int8, within a bound in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

ANSWERS = Path(__file__).with_name("answers.py")

FLOAT_BOUND = 1e-6
"""Of the largest logit: products are added up in another order at each level. Seen: 4.8e-7 in logits of up to 20."""

CPUS = [
    ("cortex-a53", "armv8-a"),
    ("cortex-a76", "armv8.2-dotprod"),
    pytest.param("cortex-a72", "armv8-a", marks=pytest.mark.long),
    pytest.param("max", "armv8.2-dotprod", marks=pytest.mark.long),
]


def check(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(found["int8"], expected["int8"])
    bound = FLOAT_BOUND * float(np.abs(expected["f32"]).max())
    np.testing.assert_allclose(found["f32"], expected["f32"], rtol=0, atol=bound)
    assert (found["f32"].argmax(1) == np.arange(10)).all()


@pytest.mark.parametrize(("cpu", "level"), CPUS)
def test_both_models(cpu: str, level: str, arm64, repo_root, libraries, models, inputs, expected, tmp_path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "answers.npz"
    done = arm64.python(
        cpu, ANSWERS, inputs, out, *models.values(), packages=[repo_root], EDGERT_KERNEL_FOLDER=libraries
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [f"AOT {level}"] * len(models)
    with np.load(out) as archive:
        check(dict(archive), expected)
