"""The classifier that ships, on the 10,000 test images of Fashion-MNIST: float accuracy, and what int8 costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgert
from edgert.cli.main import main
from edgert.datasets import read_idx

pytestmark = [pytest.mark.model, pytest.mark.slow]

MIN_TOP1 = 0.90
MAX_LOSS = 0.005
"""Half a point."""


@pytest.fixture(scope="module")
def accuracy(asset: Callable[[str], Path], default_model: Callable[[str], Path]) -> Callable[[str], float]:
    """Top-1 of all test images, in batches."""
    folder = asset("fashion-mnist")
    images = read_idx(folder / "t10k-images-idx3-ubyte")[:, None].astype(np.float32) / 255
    labels = read_idx(folder / "t10k-labels-idx1-ubyte")
    assert len(images) == len(labels) == 10_000

    def measure(weights: str) -> float:
        with edgert.load(default_model(weights)) as session:
            found = [session.run({"image": x})["logits"].argmax(1) for x in np.split(images, 40)]
        return float((np.concatenate(found) == labels).mean())

    return measure


def test_int8_is_within_half_a_point_of_float(accuracy: Callable[[str], float]) -> None:
    full, compressed = accuracy("f32"), accuracy("int8")
    assert full >= MIN_TOP1
    assert compressed >= full - MAX_LOSS


@pytest.mark.parametrize("weights", ["f32", "int8"])
def test_eval_says_so(
    weights: str, accuracy: Callable[[str], float], asset: Callable[[str], Path],
    default_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One image at a time, through `edgert eval`: the same accuracy as in batches."""
    assert main(["eval", str(default_model(weights)), str(asset("fashion-mnist")), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["samples"] == 10_000
    assert result["top1"] >= MIN_TOP1
    assert abs(result["top1"] - accuracy(weights)) <= 1e-4  # float sums of a batch may end a tie otherwise
    print(f"{weights}: {100 * result['top1']:.2f} %")
