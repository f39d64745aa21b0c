"""What every test shares: where the repository is and how to get a pinned real model.

Fixtures of one area live in that folder's own conftest.py.
"""

from __future__ import annotations

from collections.abc import Callable
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
    """`asset(name)` is the path of a pinned asset; where it can not be had, the test is skipped."""

    def get(name: str) -> Path:
        from edgert.assets.fetch import AssetError, pull

        try:
            return pull(name)
        except AssetError as error:
            pytest.skip(f"asset {name!r} can not be had here: {error}")

    return get
