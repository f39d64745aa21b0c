"""The classifiers that ship, on the 10,000 test images of Fashion-MNIST: accuracy, and what int8 and zeros cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import edgert
from edgert.cli.main import main
from edgert.datasets import read_idx
from edgert.models import FASHION_MNIST_TOP1

pytestmark = [pytest.mark.model, pytest.mark.slow]

MIN_TOP1 = 0.92
MAX_INT8_LOSS = 0.005
MAX_SPARSE_LOSS = 0.007
"""Half a point from float to int8, 0.7 points from dense int8 to sparse int8."""
MAX_SPARSE_BYTES = 0.45


@pytest.fixture(scope="module")
def accuracy(asset: Callable[[str], Path], default_model: Callable[[str], Path]) -> Callable[[str], float]:
    """Top-1 of all test images, in batches."""
    folder = asset("fashion-mnist")
    images = read_idx(folder / "t10k-images-idx3-ubyte")[:, None].astype(np.float32) / 255
    labels = read_idx(folder / "t10k-labels-idx1-ubyte")
    assert len(images) == len(labels) == 10_000

    @cache
    def measure(form: str) -> float:
        with edgert.load(default_model(form)) as session:
            found = [session.run({"image": x})["logits"].argmax(1) for x in np.split(images, 40)]
        return float((np.concatenate(found) == labels).mean())

    return measure


def test_int8_is_within_half_a_point_of_float(accuracy: Callable[[str], float]) -> None:
    assert accuracy("float") >= MIN_TOP1
    assert accuracy("int8") >= accuracy("float") - MAX_INT8_LOSS


def test_sparse_is_within_its_bounds_of_dense(
    accuracy: Callable[[str], float], default_model: Callable[[str], Path]
) -> None:
    assert accuracy("sparse int8") >= accuracy("int8") - MAX_SPARSE_LOSS
    dense, sparse = (default_model(form).stat().st_size for form in ("int8", "sparse int8"))
    assert sparse <= MAX_SPARSE_BYTES * dense


@pytest.mark.parametrize("form", FASHION_MNIST_TOP1)
def test_eval_says_so(
    form: str, accuracy: Callable[[str], float], asset: Callable[[str], Path],
    default_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One image at a time, through `edgert eval`: as accurate as in batches, and as quickstart states."""
    assert main(["eval", str(default_model(form)), str(asset("fashion-mnist")), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["samples"] == 10_000
    assert abs(result["top1"] - accuracy(form)) <= 1e-4  # float sums of a batch may end a tie otherwise
    assert result["top1"] == pytest.approx(FASHION_MNIST_TOP1[form], abs=5e-4)
    print(f"{form}: {100 * result['top1']:.2f} %")
