"""`--device opencl` on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import image, int8_model

from edgert.cli.main import main
from edgert.errors import DeviceError
from edgert.format import write_model
from edgert.kernels_gpu import programs
from edgert.kernels_gpu.device import DeviceInfo, devices
from edgert.kernels_gpu.programs import Programs
from edgert.runtime import accelerator


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


def error(capsys: pytest.CaptureFixture[str], *words: str, code: int = 1) -> str:
    """The one line on stderr of a command that fails, without what was said of compiling."""
    out, err = call(capsys, *words, code=code)
    (line,) = [line for line in err.splitlines() if not line.startswith(("compil", "build"))]
    assert out == "" and line.startswith("error: ")
    return line


def test_devices_that_are_not_there(capsys: pytest.CaptureFixture[str], model: str, device: DeviceInfo) -> None:
    for command in (["run", model, f"{Path(model).parent}/image.npy"], ["bench", model], ["inspect", model, "--plan"]):
        line = error(capsys, *command, "--device", "opencl:99")
        assert line.startswith(f"error: there is no opencl:99; found opencl:0 {devices()[0].name}")
        assert "expected" in error(capsys, *command, "--device", "opencl:x", code=2)


def test_no_platform(capsys: pytest.CaptureFixture[str], model: str, tmp_path: Path) -> None:
    """In processes of their own: a loader looks for drivers once."""
    (tmp_path / "none").mkdir()
    words = [sys.executable, "-m", "edgert.cli.main", "run", model, str(tmp_path / "image.npy"), "--device"]
    environment = {**os.environ, "OCL_ICD_VENDORS": str(tmp_path / "none")}
    ran = {
        where: subprocess.run([*words, where], env=environment, capture_output=True, text=True, timeout=120)
        for where in ("opencl", "auto")
    }
    assert ran["opencl"].returncode == 1 and ran["opencl"].stdout == ""
    (line,) = ran["opencl"].stderr.splitlines()
    assert line.startswith("error: expected an OpenCL platform, found none (") and "pocl-opencl-icd" in line
    assert ran["auto"].returncode == 0 and ran["auto"].stdout
    assert "device auto: the processor, since no OpenCL platform was found, cpu " in ran["auto"].stderr


def test_the_plan_of_auto_without_a_device(
    capsys: pytest.CaptureFixture[str], model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(spec: str) -> DeviceInfo:
        raise DeviceError("expected an OpenCL device, found none: ...", "no OpenCL platform here (Old) has a device")

    monkeypatch.setattr(accelerator, "choose", none)
    note = "device auto: the processor, since no OpenCL platform here (Old) has a device"
    out, _ = call(capsys, "inspect", model, "--plan", "--shape", "N=1", "--device", "auto")
    assert out.startswith(f"{note}, cpu ")
    out, _ = call(capsys, "inspect", model, "--plan", "--shape", "N=1", "--device", "auto", "--json")
    assert json.loads(out)["plan"]["device"] == note
    _, err = call(capsys, "bench", model, "--shape", "N=1", "--runs", "2", "--device", "auto")
    assert note in err


def test_too_little_memory(
    capsys: pytest.CaptureFixture[str], model: str, device: DeviceInfo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = replace(device, capabilities=replace(device.capabilities, global_memory=1 << 12))
    monkeypatch.setattr(accelerator, "choose", lambda spec: small)
    line = error(capsys, "run", model, str(tmp_path / "image.npy"), "--device", "opencl")
    assert f"on {device.spec} {device.name}, which has 0.0 MB; use smaller shapes" in line


def test_a_program_that_can_not_be_built(
    capsys: pytest.CaptureFixture[str], model: str, device: DeviceInfo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGERT_CACHE", str(tmp_path / "cache"))
    text = programs._text
    more = {"prelude.cl": "\nnonsense"}
    monkeypatch.setattr(programs, "_text", lambda name: text(name) + more.get(name, ""))
    _, err = call(capsys, "run", model, str(tmp_path / "image.npy"), "--device", device.spec, code=1)
    assert "Traceback" not in err and " can not be built for opencl:" in err and "--device cpu" in err


def test_interrupted_while_programs_are_built(
    capsys: pytest.CaptureFixture[str], model: str, device: DeviceInfo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built = Programs._from_source

    def interrupted(self: Programs, name: str, source: str) -> object:
        if self.built == 2:
            raise KeyboardInterrupt
        return built(self, name, source)

    monkeypatch.setenv("EDGERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Programs, "_from_source", interrupted)
    _, err = call(capsys, "run", model, str(tmp_path / "image.npy"), "--device", device.spec, code=130)
    assert err.splitlines()[-1] == "interrupted" and "Traceback" not in err
    left = [path.name for path in (tmp_path / "cache" / "opencl").iterdir()]
    assert not [name for name in left if name.startswith(".")]
    monkeypatch.setattr(Programs, "_from_source", built)
    call(capsys, "run", model, str(tmp_path / "image.npy"), "--device", device.spec)
