"""Sessions on a device: the CPU's answers, whatever has no twin on the processor, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from networks import float_model, image, int8_model

import edgert
from edgert.errors import DeviceError, InputError
from edgert.format import Model, write_model
from edgert.kernels_gpu.device import DeviceInfo
from edgert.kernels_gpu.table import Twin
from edgert.kernels_gpu.tune import Tuner
from edgert.runtime.session import Session


@pytest.mark.parametrize("make", [float_model, int8_model])
def test_the_cpus_answers(make: Callable[[], Model], device: DeviceInfo, tmp_path: Path) -> None:
    write_model(make(), tmp_path / "m.edge")
    with edgert.load(tmp_path / "m.edge") as cpu, edgert.load(tmp_path / "m.edge", device=device.spec) as other:
        for batch in (0, 3, 1):
            feeds = image(batch)
            right, found = cpu.run(feeds), other.run(feeds)
            for name in right:
                np.testing.assert_allclose(found[name], right[name], rtol=1e-5, atol=1e-5)
        assert other.summary().startswith(f"{device.spec} {device.kind} {device.name} ({device.platform}), cpu ")
        steps = other.plan({"N": 1}).steps
        assert any(step.kind == "opencl" and step.kernel.endswith("_opencl") for step in steps)
        assert all("on the processor" in step.reason for step in steps if step.kind == "native")
        times = other.profile(image(1))
        assert {time.kernel for time in times} == {step.kernel for step in steps if step.ops or step.kind == "host"}


@pytest.mark.parametrize("name", ["fashion_mnist-float", "fashion_mnist-int8", "fashion_mnist-sparse-int8"])
def test_the_default_models(
    name: str, device: DeviceInfo, default_model: Callable[[str], Path], samples: np.ndarray
) -> None:
    path = default_model({"float": "f32", "int8": "int8", "sparse-int8": "sparse int8"}[name[14:]])
    with edgert.load(path) as cpu, edgert.load(path, device=device.spec, threads=1) as other:
        (key,) = (value.name for value in cpu.get_inputs())
        right, found = cpu.run({key: samples}), other.run({key: samples})
    for name_, value in right.items():
        scale = float(np.abs(value).max())
        np.testing.assert_allclose(found[name_], value, rtol=0, atol=0.0 if "int8" in name else 1e-5 * scale)


def test_a_closed_session_and_another_one(device: DeviceInfo) -> None:
    for _ in range(2):
        with Session(int8_model(), device=device.spec) as session:
            session.run(image(2))


@pytest.mark.parametrize("word", ["gpu", "cuda", "armv8-a", ""])
def test_words_that_name_no_device(word: str) -> None:
    with pytest.raises(InputError, match="expected 'cpu', 'opencl', 'opencl:N' or 'auto'"):
        Session(float_model(), device=word)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match="there is no opencl:99; found opencl:0"):
        Session(float_model(), device="opencl:99")


def test_weights_are_not_streamed_there(device: DeviceInfo) -> None:
    with pytest.raises(InputError, match="expected stream 'auto' or 'never'"):
        Session(float_model(), device=device.spec, stream="always")
    with pytest.raises(InputError, match="shared budget"):
        Session(float_model(1), device=device.spec, ram=edgert.SharedRam("100M"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_is_told(device: DeviceInfo) -> None:
    with Session(float_model(), device=device.spec) as session:
        before = session.run(image(1))["scores"]
        child = os.fork()
        if child == 0:
            try:
                session.run(image(1))
            except DeviceError:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        np.testing.assert_array_equal(session.run(image(1))["scores"], before)


@pytest.mark.parametrize("faster", ["the device", "the processor"])
def test_auto(faster: str, device: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each op where it is faster; times are measured once."""
    measured: list[str] = []

    def time(self: Tuner, twin: Twin, *args: object) -> float:
        measured.append(twin.kernel)
        return 0.0 if faster == "the device" else 1e6

    monkeypatch.setattr(Tuner, "time", time)
    monkeypatch.setattr(Tuner, "crossing", lambda self: (0.0, 0.0))
    model = int8_model()
    with Session(model, device="auto") as session, Session(model) as cpu:
        np.testing.assert_array_equal(session.run(image(1))["features"], cpu.run(image(1))["features"])
        steps = session.plan().steps
        if faster == "the device":
            assert measured and all(step.kind != "native" for step in steps)
        else:
            assert all(step.kind != "opencl" for step in steps)
            assert any("predicted 1000000.0 us on the device" in step.reason for step in steps)


def test_the_device_is_named_before_anything_is_planned(device: DeviceInfo) -> None:
    with Session(float_model(), device=device.spec) as session:
        assert session.summary().startswith(f"{device.short}, ") and "planned at the first run" in session.summary()
