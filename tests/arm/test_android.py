"""The wheel for Android as Chaquopy lays it out on a phone, in an emulator: bytecode alone; pixels in, words out."""

from __future__ import annotations

import compileall
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkout import copy_sources, fill_device
from qemu import Emulator
from release import pip_wheel

APP = Path(__file__).resolve().parents[2] / "apps" / "android" / "chaquopy" / "app" / "src" / "main" / "python"
PHONE = """
import platform, sys
from pathlib import Path
platform.system = lambda: "Android"
import numpy as np
import classifier
from edgert.kernels_cpu.control import FUTEX_NUMBER
from edgert.png import read_png
for number in range(10):
    grey = read_png(Path(classifier.sample(number)))
    pixels = np.concatenate([grey, grey, grey, np.full_like(grey, 255)], axis=2)
    print(classifier.classify(pixels.tobytes(), 28, 28, 1).splitlines()[0])
session = classifier.session()
print(session.kernels, session.level.name, session._threads)
state = session._native._pool._state
print(int(state.word(FUTEX_NUMBER)[0]), len(state.threads))
print([name for name in ("PIL", "numba", "llvmlite") if name in sys.modules])
"""


@pytest.fixture(scope="module")
def phone(
    arm64: Emulator, repo_root: Path, default_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the app and the wheel's content, compiled: what stays of Python is .pyc files."""
    source = copy_sources(repo_root, tmp_path_factory.mktemp("source"))
    fill_device(source, ("armv8-a", "armv8.2-dotprod"), default_model)
    folder = tmp_path_factory.mktemp("phone")
    wheel = pip_wheel(source, tmp_path_factory.mktemp("wheel"), "android")
    assert "android_21_arm64_v8a" in wheel.name
    shutil.unpack_archive(wheel, folder, "zip")
    shutil.copy(APP / "classifier.py", folder)
    assert compileall.compile_dir(folder, quiet=1, legacy=True)
    for path in folder.rglob("*.py"):
        path.unlink()
    return folder


@pytest.mark.long
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="compiles bytecode for the emulated Python 3.11")
@pytest.mark.parametrize(("cpu", "level"), [("cortex-a53", "armv8-a"), ("cortex-a76", "armv8.2-dotprod")])
def test_the_app_answers(phone: Path, arm64: Any, cpu: str, level: str) -> None:
    done = arm64.python(cpu, "-c", PHONE, packages=[phone])
    assert done.returncode == 0, done.stderr
    *answers, kernels, workers, heavy = done.stdout.splitlines()
    labels = [answer.rsplit("  ", 1)[0] for answer in answers]
    assert labels == [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ]  # fmt: skip
    assert kernels == f"AOT {level} 2"
    assert workers == "98 1"  # the futex call of 64-bit ARM, and a worker beside the caller
    assert heavy == "[]"
