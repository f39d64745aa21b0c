"""Libraries that an ARM processor can not run, or should not, are refused in words; none of their code runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.kernels_cpu.abi import ABI_VERSION
from edgert.kernels_cpu.elf import read_elf

FOLDERS = Path(__file__).with_name("folders.py")
PLAIN, DOTPROD = "libedgert_armv8-a.so", "libedgert_armv8.2-dotprod.so"


@pytest.fixture
def int8_model(arm64: Any, models: Callable[..., dict[str, Path]]) -> Path:
    return models(arm64)["int8"]


@pytest.fixture
def libraries(arm64: Any) -> Path:
    """Where the wheel put them."""
    return Path(arm64.site, "edgert", "kernels_cpu", "lib")


@pytest.fixture
def attempt(arm64: Any, int8_model: Path, inputs: Path) -> Callable[..., list[str]]:
    """attempt(cpu, folder...): for each folder of libraries the level that runs, or the error."""

    def get(cpu: str, *folders: Path) -> list[str]:
        done = arm64.python(cpu, FOLDERS, int8_model, inputs, *folders)
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
        found: list[str] = json.loads(done.stdout)
        return found

    return get


def flip(path: Path) -> None:
    """Changes one bit in the middle of a file, where the code is."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_dotprod_asked_for_on_a_processor_without_it(arm64: Any, int8_model: Path, inputs: Path) -> None:
    done = arm64.python("cortex-a72", FOLDERS, int8_model, inputs, "", EDGERT_ISA="armv8.2-dotprod")
    assert done.returncode == 0, done.stderr
    (said,) = json.loads(done.stdout)
    assert said.startswith("KernelError: EDGERT_ISA=armv8.2-dotprod cannot run on this machine: missing asimddp")


def test_what_is_refused_and_why(attempt: Callable[..., list[str]], libraries: Path, tmp_path: Path) -> None:
    renamed, bare, flipped, newer, foreign = (tmp_path / name for name in ("named", "bare", "flip", "newer", "foreign"))
    for folder in (renamed, flipped):
        shutil.copytree(libraries, folder)
    for folder in (bare, newer, foreign):
        folder.mkdir()
    shutil.copy(libraries / DOTPROD, renamed / PLAIN)
    shutil.copy(libraries / DOTPROD, bare / PLAIN)  # without a manifest: by what it says of itself
    flip(flipped / PLAIN)
    _count_abi_up(libraries / PLAIN, newer / PLAIN)
    shutil.copy(np._core._multiarray_umath.__file__, foreign / PLAIN)  # type: ignore[attr-defined]
    said = attempt("cortex-a72", renamed, bare, flipped, newer, foreign, libraries)
    assert said[-1] == "armv8-a"
    for text, why in zip(
        said,
        (
            "expected kernels of armv8-a, found kernels of armv8.2-dotprod",
            "expected kernels of armv8-a, found kernels of armv8.2-dotprod",
            "it is damaged: expected SHA-256",
            f"expected kernel ABI {ABI_VERSION}, found {ABI_VERSION + 1}",
            "expected a library for aarch64, found one for",
        ),
        strict=False,
    ):
        assert text.startswith("KernelError: no ahead-of-time library fits: ")
        assert f"armv8-a: {PLAIN}: {why}" in text


def test_the_next_level_serves_where_one_is_damaged(
    attempt: Callable[..., list[str]], libraries: Path, tmp_path: Path
) -> None:
    shutil.copytree(libraries, tmp_path / "lib")
    flip(tmp_path / "lib" / DOTPROD)
    assert attempt("cortex-a76", tmp_path / "lib", libraries) == ["armv8-a", "armv8.2-dotprod"]


def _count_abi_up(source: Path, target: Path) -> None:
    """A copy of a library that says it has the next kernel ABI."""
    data = bytearray(source.read_bytes())
    elf = read_elf(bytes(data))
    (at,) = (elf.place(value) for name, _, value in elf.symbols() if name == "edgert_abi_version")
    data[at : at + 8] = (ABI_VERSION + 1).to_bytes(8, "little")
    target.write_bytes(data)
