"""Drivers are asked in a process of its own: one that aborts, hangs or chatters is named, and the others answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgert.errors import DeviceError
from edgert.kernels_gpu import survey as module
from edgert.kernels_gpu.choices import Choices
from edgert.kernels_gpu.device import DeviceInfo, drivers
from edgert.kernels_gpu.probes import _dot_key
from edgert.kernels_gpu.survey import Survey, check_drivers, facts_of, survey

FAKE = """
import os, sys, time
class Error(Exception):
    pass
class Device:
    type = 2
    name = "a device"
    @property
    def platform(self):
        return GOOD
    def __getattr__(self, name):
        raise Error("INVALID_VALUE")
class Platform:
    version = "OpenCL 1.2"
    def __init__(self, name, devices):
        self.name, self.devices = name, devices
    def get_devices(self):
        return self.devices()
def refuse():
    raise Error("DEVICE_NOT_FOUND")
def hang():
    time.sleep(60)
def die():
    print("LLVM ERROR: unknown processor", file=sys.stderr, flush=True)
    os.abort()
GOOD = Platform("Good", lambda: [Device()])
def get_platforms():
    {platforms}
"""


def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platforms: str) -> None:
    """A pyopencl of which this is get_platforms()."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "pyopencl.py").write_text(FAKE.replace("{platforms}", platforms))
    monkeypatch.syspath_prepend(tmp_path / "fake")


def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platforms: str, seconds: float = 600.0) -> Survey:
    pretend(tmp_path, monkeypatch, platforms)
    return survey(tmp_path, seconds)


def test_the_devices_of_this_machine(device: DeviceInfo, tmp_path: Path) -> None:
    found = survey(tmp_path)
    assert found.problem == ""
    listed = {facts["spec"]: facts for facts in found.devices}
    assert sum(platform["devices"] for platform in found.platforms) == len(listed)
    facts = listed[device.spec]
    assert facts == facts_of(device, None, "")
    assert facts["memory"] >= facts["largest_allocation"] > 0 and facts["work_group"] > 0


def test_what_was_measured_is_said(device: DeviceInfo, tmp_path: Path) -> None:
    if not device.capabilities.integer_dot:
        pytest.skip("the device here has no integer dot product")
    Choices(device, tmp_path).put(_dot_key(device.capabilities), 0)
    (facts,) = [facts for facts in survey(tmp_path).devices if facts["spec"] == device.spec]
    assert facts["integer_dot_product_used"] is False


def test_a_driver_that_aborts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(tmp_path, monkeypatch, 'return [Platform("None", refuse), Platform("Old", die), GOOD]')
    assert [platform["name"] for platform in found.platforms] == ["None"]
    assert found.problem.startswith(
        "Old: the process that asked it ended by signal 6 (LLVM ERROR: unknown processor); "
    )
    assert "update or remove that driver" in found.problem


def test_a_driver_that_aborts_when_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path))
    (tmp_path / "bad.icd").write_text("libbad.so.1\n")
    found = asked(tmp_path, monkeypatch, "die()")
    assert found.problem.startswith("one of the drivers (libbad.so.1): the process that asked it ended by signal 6")
    assert drivers() == ["libbad.so.1"]


def test_a_driver_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(tmp_path, monkeypatch, 'return [Platform("Slow", hang)]', seconds=3.0)
    assert found.problem.startswith("Slow: no answer within 3 s; ")


def test_a_driver_that_chatters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(
        tmp_path, monkeypatch, 'print("hello"); print(17); print("and", end=""); return [Platform("None", refuse)]'
    )
    assert found.platforms == [{"name": "None", "version": "OpenCL 1.2", "devices": 0}]
    assert found.problem.startswith("expected an OpenCL device, found none: the platforms here (None)")


def test_a_device_that_does_not_say_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(tmp_path, monkeypatch, "return [GOOD]")
    assert found.devices == []
    assert found.problem.startswith("opencl:0 of Good does not say what it can do (INVALID_VALUE); update")


def test_a_device_that_builds_nothing(device: DeviceInfo, tmp_path: Path) -> None:
    assert module._trial(device, tmp_path) == ""
    assert facts_of(device, True, "it is too old")["fault"] == "it is too old"


def test_no_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path))
    assert survey(tmp_path).problem.startswith("expected an OpenCL platform, found none")


def test_without_pyopencl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyopencl.py").write_text('raise ImportError("libOpenCL.so.1: cannot open shared object file")')
    monkeypatch.syspath_prepend(tmp_path)
    assert "pip install 'edgert[gpu]'" in survey(tmp_path).problem
    assert "libOpenCL.so.1" in survey(tmp_path).problem


def test_a_process_that_can_not_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    found = survey(tmp_path)
    assert (found.problem, found.broken) == ("drivers could not be asked: No such file or directory", False)


def test_a_program_that_is_no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In apps that embed an interpreter; what drivers do is not known then."""
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    found = survey(tmp_path)
    assert found.problem.startswith("drivers could not be asked: the process that asked it ended by exit code 1")
    assert not found.broken


def test_drivers_are_checked_once(device: DeviceInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[Path] = []

    def counted(folder: Path) -> Survey:
        times.append(folder)
        return survey(folder)

    monkeypatch.setattr(module, "survey", counted)
    check_drivers(tmp_path)
    check_drivers(tmp_path)
    assert len(times) == 1
    monkeypatch.setenv("POCL_DEBUG", "0")
    check_drivers(tmp_path)
    assert len(times) == 2, "drivers see another environment"


def test_a_driver_that_would_take_this_process_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, 'return [Platform("Old", die)]')
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"^Old: the process that asked it ended by signal 6 \(LLVM ERROR"):
            check_drivers(tmp_path)


def test_what_is_absent_is_said_by_those_who_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, "raise Error('PLATFORM_NOT_FOUND_KHR')")
    check_drivers(tmp_path)
