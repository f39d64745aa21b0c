"""The image classification app: one file, a folder as it is, and a camera that keeps writing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgert.apps.classify import Classifier, arriving, images_in, main
from edgert.models import fashion_mnist_samples

SAMPLES = {number: path for path, number in fashion_mnist_samples()}
TROUSER, BAG = SAMPLES[1], SAMPLES[8]
PATIENCE = 30.0


@pytest.fixture(scope="module")
def model(default_model: Callable[[str], Path]) -> str:
    return str(default_model("f32"))


def test_a_file(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([model, str(TROUSER), "--top", "2"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{TROUSER.name}: Trouser ")
    assert captured.out.count("%") == 2
    assert captured.out.count("\n") == 1


def test_a_folder_once(model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for place, source in enumerate((BAG, TROUSER)):
        target = tmp_path / f"{9 - place}.png"
        shutil.copy(source, target)
        os.utime(target, (place, place))
    (tmp_path / "notes.txt").write_text("not an image")
    shutil.copy(TROUSER, tmp_path / ".part.png")
    assert main([model, str(tmp_path), "--once", "--top", "1"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("9.png: Bag ")
    assert second.startswith("8.png: Trouser ")


def test_one_bad_image_does_not_hide_the_others(model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    shutil.copy(BAG, tmp_path / "bag.png")
    assert main([model, str(tmp_path), "--once"]) == 1
    captured = capsys.readouterr()
    assert "bag.png: Bag" in captured.out
    assert "error: " in captured.err
    assert "broken.png" in captured.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["missing.edge", "x.png"], 1, "missing.edge"),
        (["{model}", "missing.png"], 1, "no such file"),
        (["{model}", "{image}", "--threads", "0"], 2, "threads"),
    ],
)
def test_refusals(model: str, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str) -> None:
    assert main([word.format(model=model, image=TROUSER) for word in words]) == code
    assert message in capsys.readouterr().err


def test_a_model_without_preprocessing(tmp_path: Path) -> None:
    from edgert.errors import InputError
    from edgert.format import read_model, write_model
    from edgert.runtime.selftest import _float_case

    write_model(_float_case()[0], tmp_path / "plain.edge")
    assert read_model(tmp_path / "plain.edge").info.preprocessing is None
    with pytest.raises(InputError, match="--input-size"):
        Classifier(str(tmp_path / "plain.edge"))


def test_arriving_waits_until_an_image_is_whole(tmp_path: Path) -> None:
    """Old images are passed over, growing ones waited for, and a name that comes again counts again."""
    shutil.copy(TROUSER, tmp_path / "old.png")
    stream: Iterator[Path] = arriving(tmp_path, poll=0.01)
    data = BAG.read_bytes()

    def write() -> None:
        time.sleep(0.05)
        with (tmp_path / "new.png").open("wb") as file:
            file.write(data[:100])
            file.flush()
            file.write(data[100:])
        (tmp_path / "old.png").unlink()

    writer = threading.Thread(target=write)
    writer.start()
    path = next(stream)
    writer.join()
    assert path.name == "new.png"
    assert path.read_bytes() == data
    assert images_in(tmp_path) == [path]
    shutil.copy(TROUSER, tmp_path / "old.png")
    assert next(stream).name == "old.png"


def test_a_camera_folder(model: str, tmp_path: Path, repo_root: Path) -> None:
    """The process itself: it answers for what arrives, and Ctrl-C ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edgert.apps.classify", model, tmp_path, "--top", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(repo_root)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("watching"):
                break
        for source, label in ((BAG, "Bag"), (TROUSER, "Trouser")):
            shutil.copy(source, tmp_path / ".frame")
            (tmp_path / ".frame").rename(tmp_path / source.name)
            assert process.stdout.readline().startswith(f"{source.name}: {label} ")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stderr.read() == ""
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
