"""What every test shares: where the repository is and how to get a pinned real model.

Fixtures of one area live in that folder's own conftest.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The top of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20240229)


@pytest.fixture(scope="session")
def asset() -> Callable[[str], Path]:
    """`asset(name)` is the path of a pinned asset; where it can not be had, the test fails and says why."""
    from edgert.assets.fetch import pull

    return pull


@pytest.fixture(scope="session")
def default_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`default_model(form)` is the classifier that ships, converted once: 'float' ('f32'), 'int8', 'sparse int8'."""
    folder = tmp_path_factory.mktemp("default-model")

    @cache
    def get(form: str) -> Path:
        from edgert.converters.calibrate.session import SessionExecutor
        from edgert.converters.convert import convert
        from edgert.models import FASHION_MNIST, FASHION_MNIST_CALIBRATION, FASHION_MNIST_SPARSE

        path = folder / f"{form.replace(' ', '-')}.edge"
        source = FASHION_MNIST_SPARSE if form.startswith("sparse") else FASHION_MNIST
        weights, calib = ("int8", FASHION_MNIST_CALIBRATION) if form.endswith("int8") else ("f32", None)
        convert(source, path, weights=weights, calib=calib, execute=SessionExecutor())
        return path

    return get


@pytest.fixture(scope="session")
def samples() -> np.ndarray:
    """The ten sample images that ship, by class number, as the default model takes them: float32 [10, 1, 28, 28]."""
    from PIL import Image

    from edgert.models import fashion_mnist_samples

    pixels = [np.asarray(Image.open(path)) for path, _ in fashion_mnist_samples()]
    return np.stack(pixels)[:, None].astype(np.float32) / 255
