"""`--device opencl` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from networks import image, int8_model

from edgert.cli.main import main
from edgert.format import write_model
from edgert.kernels_gpu.device import DeviceInfo


def call(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    """(stdout, stderr) of a command that ends with `code`."""
    assert main(list(words)) == code
    said = capsys.readouterr()
    return said.out, said.err


@pytest.fixture
def model(tmp_path: Path) -> str:
    write_model(int8_model(), tmp_path / "m.edge")
    np.save(tmp_path / "image.npy", image(1)["image"])
    return str(tmp_path / "m.edge")


def test_run(capsys: pytest.CaptureFixture[str], model: str, device: DeviceInfo, tmp_path: Path) -> None:
    answers = []
    for where in ("cpu", device.spec):
        target = tmp_path / f"{where.partition(':')[0]}.npz"
        _, err = call(capsys, "run", model, str(tmp_path / "image.npy"), "--device", where, "-o", str(target))
        answers.append(dict(np.load(target)))
        assert (device.short in err) == (where != "cpu")
    np.testing.assert_array_equal(answers[0]["features"], answers[1]["features"])


def test_the_plan(capsys: pytest.CaptureFixture[str], model: str, device: DeviceInfo) -> None:
    out, _ = call(capsys, "inspect", model, "--plan", "--device", device.spec)
    assert f"{device.short}, " in out and " ops there, " in out and "binary_q8_opencl" in out
    out, _ = call(capsys, "inspect", model, "--plan", "--device", device.spec, "--json")
    assert json.loads(out)["plan"]["device"].startswith(device.short)


def test_bench(capsys: pytest.CaptureFixture[str], model: str, device: DeviceInfo) -> None:
    out, _ = call(
        capsys, "bench", model, "--device", device.spec, "--threads", "1", "--runs", "3", "--ops", "--json"
    )  # fmt: skip
    (row,) = json.loads(out)["results"]
    assert {"binary_q8_opencl"} <= {op["kernel"] for op in row["ops"]}


def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str], model: str) -> None:
    _, err = call(capsys, "inspect", model, "--plan", "--device", "opencl:99", code=1)
    assert "there is no opencl:99; found opencl:0" in err
