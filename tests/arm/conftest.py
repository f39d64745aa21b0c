"""What the tests on emulated ARM machines share: the machines with the wheel installed, and this machine's answers.

They need Debian's apt-get to get the emulator; where it can not be had they fail and say why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

for folder in ("", "kernels", "packaging", "arm"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))

FORMS = ("f32", "int8", "sparse int8")
"""Of the default model."""
LEVELS = {"aarch64": ("armv8-a", "armv8.2-dotprod"), "armv7l": ("armv7-neon",)}
"""Architecture -> levels of the libraries in its wheel: those that kernel tests compile anyway, and one of 32 bits."""


@pytest.fixture(scope="session")
def device(  # type: ignore[no-untyped-def]
    repo_root: Path, default_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
):
    """`device(arch)` is an emulated machine with the wheel for it installed; it has the libraries of LEVELS[arch]."""
    from functools import cache

    from checkout import copy_sources, fill_device
    from qemu import Emulator
    from release import pip_wheel

    @cache
    def get(arch: str) -> Emulator:
        emulator = Emulator(arch, tmp_path_factory.mktemp(arch))
        source = copy_sources(repo_root, tmp_path_factory.mktemp("source"))
        fill_device(source, LEVELS[arch], default_model)
        emulator.install(pip_wheel(source, tmp_path_factory.mktemp("wheel"), arch))
        return emulator

    return get


@pytest.fixture(scope="session")
def arm64(device):  # type: ignore[no-untyped-def]
    """Processors of 64-bit ARM."""
    return device("aarch64")


@pytest.fixture(scope="session")
def models(default_model: Callable[[str], Path]) -> Callable[..., dict[str, Path]]:
    """`models(emulator)`: the default model by form, the very files that the wheel brought where it has them."""
    from edgert.models import FASHION_MNIST_READY

    def get(emulator) -> dict[str, Path]:  # type: ignore[no-untyped-def]
        there = {form: emulator.site / "edgert" / "models" / path.name for form, path in FASHION_MNIST_READY.items()}
        return {form: there.get(form) or default_model(form) for form in FORMS}

    return get


@pytest.fixture(scope="session")
def inputs(samples: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ten sample images as a file that `answers.py` takes."""
    path = tmp_path_factory.mktemp("inputs") / "samples.npy"
    np.save(path, samples)
    return path


@pytest.fixture(scope="session")
def expected(default_model: Callable[[str], Path], samples: np.ndarray) -> dict[str, np.ndarray]:
    """What this machine answers: logits [10, 10] by form."""
    import edgert

    logits = {}
    for form in FORMS:
        with edgert.load(default_model(form), threads=1) as session:
            logits[form] = np.concatenate([session.run({"image": image[None]})["logits"] for image in samples])
    return logits
