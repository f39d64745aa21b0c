"""A small layer with correlated inputs: weights [24, 64] and the moments of its inputs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def inputs(rng: np.random.Generator) -> np.ndarray:
    """float64 [512, 64], correlated, of different sizes and not around 0."""
    x = rng.standard_normal((512, 24)) @ rng.standard_normal((24, 64)) + 0.4 * rng.standard_normal((512, 64))
    return np.asarray(x * rng.uniform(0.2, 3.0, 64) + rng.standard_normal(64))


@pytest.fixture
def moments(inputs: np.ndarray) -> np.ndarray:
    return np.asarray(inputs.T @ inputs / len(inputs))


@pytest.fixture
def weights(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((24, 64)).astype(np.float32)
