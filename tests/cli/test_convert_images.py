"""`edgert convert --input-size`: how pictures become inputs is taken from the input itself where nobody says it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flatbuffers")
sys.path.insert(0, str(Path(__file__).parents[1] / "converters" / "tflite"))
from flat_model import FlatModel

from edgert.cli.main import main
from edgert.format import read_model


def model(folder: Path, channels: int, dtype: str = "float32") -> Path:
    m = FlatModel()
    x = m.input("x", (1, 6, 8, channels), dtype)
    m.output(m.op("RESHAPE", [x, m.constant("s", np.int32([1, 48 * channels]))], ("y", (1, 48 * channels), dtype)))
    return Path(m.save(folder / "m.tflite"))


@pytest.mark.parametrize(("channels", "dtype"), [(1, "float32"), (3, "uint8")])
def test_what_the_input_says(tmp_path: Path, channels: int, dtype: str) -> None:
    out = tmp_path / "m.edge"
    words = ["convert", str(model(tmp_path, channels, dtype)), "-o", str(out), "--input-size", "6x8", "--mean", "8"]
    assert main(words) == 0
    steps = read_model(out).info.preprocessing
    assert steps is not None and (steps.layout, steps.dtype, steps.crop) == ("NHWC", dtype, (6, 8))
    assert steps.channels == ("L" if channels == 1 else "RGB")
    picture = pytest.importorskip("PIL.Image").new("RGB", (30, 20), (40, 50, 60))
    picture.save(tmp_path / "photo.png")
    assert main(["run", str(out), str(tmp_path / "photo.png")]) == 0


def test_other_sizes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = model(tmp_path, 3), str(tmp_path / "m.edge")
    assert main(["convert", str(source), "-o", out, "--input-size", "96"]) == 2
    assert "expected what fits x" in capsys.readouterr().err
    assert main(["convert", str(source), "-o", out, "--input-size", "6x8", "--layout", "NCHW"]) == 2
    assert not Path(out).exists()


def test_a_picture_for_a_model_that_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "m.edge")
    assert main(["convert", str(model(tmp_path, 3)), "-o", out]) == 0
    assert main(["run", out, "photo.png"]) == 2
    message = capsys.readouterr().err
    assert "how an image becomes its input, x float32" in message and "--input-size" in message
