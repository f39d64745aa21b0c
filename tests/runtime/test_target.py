"""What `device` asks for: 'auto' without a device is the processor, and says why; 'opencl' is an error."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from networks import float_model, image

import edgert
from edgert.errors import DeviceError, DeviceMemoryError, InputError, KernelError
from edgert.format import write_model
from edgert.kernels_cpu.installed import chosen
from edgert.runtime import accelerator
from edgert.runtime.session import Session
from edgert.runtime.target import Target, placed, why_not

NONE = DeviceError("expected an OpenCL platform, found none (-1001); install a driver", "no OpenCL platform was found")
NOTE = "device auto: the processor, since no OpenCL platform was found"


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def choose(spec: str) -> Any:
        raise error

    monkeypatch.setattr(accelerator, "choose", choose)
    monkeypatch.setattr(accelerator, "check_drivers", lambda folder: None)


def test_the_processor_needs_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, AssertionError("asked for a device"))
    found = Target("cpu", stream="always")
    assert (found.accelerator, found.note, found.stream, found.prefer) == (None, "", "always", frozenset())


def test_auto_without_a_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failing(monkeypatch, NONE)
    write_model(float_model(), tmp_path / "m.edge")
    with edgert.load(tmp_path / "m.edge", device="auto") as session, edgert.load(tmp_path / "m.edge") as cpu:
        right, found = cpu.run(image(1)), session.run(image(1))
        for name in right:
            np.testing.assert_array_equal(found[name], right[name])
        assert session.summary() == f"{NOTE}, {cpu.summary()}"
    with pytest.raises(DeviceError, match="found none"):
        edgert.load(tmp_path / "m.edge", device="opencl")


def test_what_is_streamed_without_a_device_is_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, NONE)
    assert Target("auto", stream="auto").stream == "auto"


@pytest.mark.parametrize("device", ["auto", "opencl"])
def test_what_no_device_does_is_refused_before_one_is_sought(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, AssertionError("asked for a device"))
    with pytest.raises(InputError, match="expected stream 'auto' or 'never'"):
        Target(device, stream="always")
    with pytest.raises(InputError, match="shared budget"):
        Target(device, shared=True)


class Broken:
    """A device that fails when a plan comes."""

    def __init__(self, auto: bool, error: Exception) -> None:
        self.auto, self.error = auto, error
        self.device = SimpleNamespace(short="opencl:0")

    def executable(self, *args: Any) -> Any:
        raise self.error

    placement = executable


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (DeviceMemoryError("opencl:0 G has too little memory while weights were placed (X); it has 1 MB"),
         "opencl:0 G has too little memory while weights were placed (X)"),
        (KernelError("conv can not be built for opencl:0 G; the compiler says:\n  nonsense"),
         "conv can not be built for opencl:0 G"),
    ],
)  # fmt: skip
def test_a_device_that_fails_later(error: Exception, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for auto in (True, False):
        with Session(float_model()) as session:
            session._target.accelerator = Broken(auto, error)  # type: ignore[assignment]
            if not auto:
                with pytest.raises(type(error)):
                    session.run(image(2))
                continue
            session.run(image(2))
            assert session.summary().startswith(f"device auto: the processor, since {why}, cpu ")
            plan = session.plan({"N": 2})
    monkeypatch.setattr(accelerator, "Accelerator", lambda *args: with_choice(Broken(True, error)))
    assert placed(plan, "auto") == (plan, "", f"device auto: the processor, since {why}")


def with_choice(broken: Broken) -> Broken:
    broken.choice, broken.kernels = chosen(), frozenset[str]()  # type: ignore[attr-defined]
    return broken


@pytest.mark.parametrize("device", ["opencl:", "opencl:x", "opencl:-1", "opencl:1 ", "auto:1", "gpu", ""])
def test_words_that_name_no_device(device: str) -> None:
    plan = Session(float_model(1)).plan()
    for ask in (lambda: Target(device), lambda: placed(plan, device)):
        with pytest.raises(InputError, match="expected 'cpu', 'opencl', 'opencl:N' or 'auto'"):
            ask()


def test_a_reason_is_a_clause() -> None:
    assert why_not(DeviceError("it is gone; look at dmesg")) == "device auto: the processor, since it is gone"
    assert why_not(NONE) == NOTE
