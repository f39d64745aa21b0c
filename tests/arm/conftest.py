"""What the tests on emulated ARM machines share: the machines, kernel libraries for them, and this machine's answers.

They need Debian's apt-get to get the emulator; where it can not be had they fail and say why.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))

FORMS = ("f32", "int8")
"""The two forms in which the default model is run."""


@pytest.fixture(scope="session")
def arm64(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Processors of 64-bit ARM."""
    from qemu import Emulator

    return Emulator("aarch64", tmp_path_factory.mktemp("aarch64"))


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ahead-of-time libraries for 64-bit ARM, of the very objects that the kernel tests run."""
    from harness import shared_library

    from edgert.kernels_cpu.levels import LEVELS

    folder = tmp_path_factory.mktemp("libraries")
    for name in ("armv8-a", "armv8.2-dotprod"):
        shutil.copy(shared_library(LEVELS[name]), folder)
    return folder


@pytest.fixture(scope="session")
def models(default_model: Callable[[str], Path]) -> dict[str, Path]:
    """The model that ships, by form."""
    return {form: default_model(form) for form in FORMS}


@pytest.fixture(scope="session")
def inputs(samples: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ten sample images as a file that `answers.py` takes."""
    path = tmp_path_factory.mktemp("inputs") / "samples.npy"
    np.save(path, samples)
    return path


@pytest.fixture(scope="session")
def expected(models: dict[str, Path], samples: np.ndarray) -> dict[str, np.ndarray]:
    """What this machine answers: logits [10, 10] by form."""
    import edgert

    logits = {}
    for form, path in models.items():
        with edgert.load(path, threads=1) as session:
            logits[form] = np.concatenate([session.run({"image": image[None]})["logits"] for image in samples])
    return logits
