"""Which OpenCL devices there are, choosing one, and what is said where there is none."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgert.errors import DeviceError, DeviceMemoryError
from edgert.kernels_gpu import context as context_module
from edgert.kernels_gpu import device as device_module
from edgert.kernels_gpu.context import Context, device_error, translated
from edgert.kernels_gpu.device import DeviceInfo, choose, devices


class _Error(Exception):
    code = -1001


def _fake(monkeypatch: pytest.MonkeyPatch, platforms: Any) -> None:
    """A pyopencl that knows these platforms only; an exception is raised by get_platforms()."""

    def get_platforms() -> Any:
        if isinstance(platforms, Exception):
            raise platforms
        return platforms

    module = SimpleNamespace(Error=_Error, get_platforms=get_platforms)
    monkeypatch.setattr(device_module, "import_pyopencl", lambda: module)


def test_the_devices_of_this_machine(device: DeviceInfo) -> None:
    found = devices()
    assert [one.index for one in found] == list(range(len(found)))
    assert device in found
    can = device.capabilities
    assert can.compute_units > 0 and can.global_memory >= can.max_allocation > 1 << 20
    assert can.work_group >= 64 and can.local_memory >= 16 << 10 and can.alignment >= 64
    assert device.described().startswith(f"{device.spec} {device.kind} {device.name}")
    assert choose(device.spec) == device


def test_the_first_gpu_comes_first(monkeypatch: pytest.MonkeyPatch, device: DeviceInfo) -> None:
    kinds = ("CPU", "accelerator", "GPU", "GPU")
    listed = [replace(device, index=i, kind=kind) for i, kind in enumerate(kinds)]
    monkeypatch.setattr(device_module, "devices", lambda: listed)
    assert choose("opencl").index == 2
    assert choose("opencl:0").index == 0
    with pytest.raises(DeviceError, match=r"no opencl:4; found opencl:0 .*; opencl:3 "):
        choose("opencl:4")


@pytest.mark.parametrize("spec", ["gpu", "opencl:", "opencl:x", "opencl:-1", "cuda:0", ""])
def test_other_words_are_refused(spec: str) -> None:
    with pytest.raises(DeviceError, match="expected a device 'opencl' or 'opencl:N'"):
        choose(spec)


def test_without_pyopencl(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(device_module, "import_module", missing)
    with pytest.raises(DeviceError, match=r"pip install 'edgert\[gpu\]'"):
        devices()
    assert builtins.__import__ is found


@pytest.mark.parametrize("platforms", [_Error("PLATFORM_NOT_FOUND_KHR"), []])
def test_without_a_platform(monkeypatch: pytest.MonkeyPatch, platforms: Any) -> None:
    _fake(monkeypatch, platforms)
    with pytest.raises(DeviceError, match=r"expected an OpenCL platform, found none.*pocl-opencl-icd"):
        choose("opencl")


def test_a_machine_without_drivers(tmp_path: Path) -> None:
    """What the loader of a fresh system says: a process of its own, since it looks once."""
    code = "from edgert.kernels_gpu.device import choose; choose('opencl')"
    environment = {**os.environ, "OCL_ICD_VENDORS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert "DeviceError: expected an OpenCL platform, found none" in done.stderr, done.stderr


def test_a_driver_that_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "old.icd").write_text("libold.so.1\n")
    code = "from edgert.kernels_gpu.device import choose; choose('opencl')"
    environment = {**os.environ, "OCL_ICD_VENDORS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert "of the drivers that are installed (libold.so.1) none works; `ldd` says" in done.stderr, done.stderr


def test_a_device_that_does_not_say_what_it_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        type, name = 4, "Silent"
        platform = SimpleNamespace(name="Old", version="OpenCL 1.2")

        def __getattr__(self, name: str) -> Any:
            raise _Error("INVALID_VALUE")

    _fake(monkeypatch, [SimpleNamespace(name="Old", get_devices=lambda: [Silent()])])
    with pytest.raises(DeviceError, match=r"opencl:0 of Old does not say what it can do \(INVALID_VALUE\); update"):
        choose("opencl:0")


def test_a_platform_without_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_devices() -> Any:
        raise _Error("DEVICE_NOT_FOUND")

    _fake(monkeypatch, [SimpleNamespace(name="Rusticl", get_devices=get_devices)])
    with pytest.raises(DeviceError, match=r"expected an OpenCL device, found none: .*Rusticl.*/dev/dri"):
        choose("opencl")


@pytest.mark.parametrize(
    ("code", "waiting", "kind", "words"),
    [
        (-4, False, DeviceMemoryError, "too little memory"),
        (-4, True, DeviceMemoryError, "too little memory"),
        (-5, False, DeviceMemoryError, "too little memory"),
        (-5, True, DeviceError, "was lost"),
        (-36, False, DeviceError, "was lost"),
        (-2, True, DeviceError, "dmesg"),
        (-54, False, DeviceError, "OpenCL error -54; this is a bug of edgert"),
    ],
)
def test_codes_of_drivers(device: DeviceInfo, code: int, waiting: bool, kind: type, words: str) -> None:
    error = device_error(device, code, "testing", waiting=waiting)
    assert type(error) is kind
    assert words in str(error) and "while testing" in str(error) and device.spec in str(error)


def test_a_real_code_is_translated(device: DeviceInfo, context: Context) -> None:
    cl = context.cl
    with (
        pytest.raises(DeviceError, match="while a buffer of no bytes was made"),
        translated(device, "a buffer of no bytes was made"),
    ):
        cl.Buffer(context.handle, cl.mem_flags.READ_WRITE, 0)
    assert context_module.MEMORY_CODES[-61] == "INVALID_BUFFER_SIZE"
