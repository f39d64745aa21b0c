"""The commands and the program of docs/gpu.md are run, on the models that they name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgert.assets.fetch import pull
from edgert.converters.convert import convert
from edgert.kernels_gpu.device import DeviceInfo

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "gpu.md").read_text("utf-8")
BLOCKS = [(language, block) for language, block in re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)]
COMMANDS = [line for _, block in BLOCKS for line in block.splitlines() if line.startswith("edgert ")]
PROGRAMS = [block for language, block in BLOCKS if language == "python"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    convert(pull("smollm2-135m"), folder / "smollm2.edge")
    convert(pull("efficientnet-lite0"), folder / "lite0.edge")
    (folder / "coffee.png").write_bytes((pull("photos") / "coffee.png").read_bytes())
    return folder


def ran(words: list[str], folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.model
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_work(command: str, folder: Path, device: DeviceInfo) -> None:
    words = re.findall(r'"[^"]*"|\S+', command)[1:]
    said = ran([sys.executable, "-m", "edgert.cli.main", *(word.strip('"') for word in words)], folder)
    assert device.name in said or "--device auto" in command, said


@pytest.mark.long
@pytest.mark.model
def test_the_program_works(folder: Path, device: DeviceInfo) -> None:
    (program,) = PROGRAMS
    assert device.name in ran([sys.executable, "-c", program], folder)


def test_there_is_something_to_run() -> None:
    assert len(COMMANDS) >= 5 and "edgert doctor" in COMMANDS[0]
