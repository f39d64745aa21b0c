"""What runs on a device is enqueued natively, whole parts at once; where that is impossible, visibly by Python."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import Network

sys.path.insert(0, str(Path(__file__).parents[1] / "llm"))

import small_decoder as tiny

from edgert.errors import KernelError
from edgert.format import Model
from edgert.kernels_gpu.device import DeviceInfo
from edgert.kernels_gpu.sequence import Sequence
from edgert.llm.decoder import Decoder
from edgert.runtime import accelerator
from edgert.runtime.session import Session

FEEDS = {"x": np.arange(300, dtype=np.float32).reshape(6, 50)}


def chain(length: int) -> Model:
    """x [6, 50] -> y, by `length` ops that do not fuse."""
    net = Network(5)
    first = value = net.input("x", (6, 50))
    for index in range(length):
        value = net.node("Softmax", value, out="y" if index == length - 1 else "")
    return net.model(value, first)


def sequences(session: Session | Decoder) -> Iterator[Sequence]:
    for executable in session._ready.values():
        for part in getattr(executable, "_parts", ()):
            if hasattr(part, "_sequence"):
                yield part._sequence


def events(run: Callable[[], object]) -> list[str]:
    """What Python calls in a run."""
    names: list[str] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            names.append(frame.f_code.co_qualname)
        elif event == "c_call":
            names.append(argument.__qualname__)

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return names


def test_no_python_per_op(device: DeviceInfo) -> None:
    calls, commands = [], []
    for length in (3, 40):
        with Session(chain(length), device=device.spec) as session:
            session.run(FEEDS)
            session.run(FEEDS)
            (one,) = sequences(session)
            assert one.form == "native"
            commands.append(len(one.commands))
            calls.append(events(lambda session=session: session.run(FEEDS)))
            assert "enqueued" not in session.summary()
    assert commands[1] - commands[0] >= 37
    assert calls[0] == calls[1]


def test_no_python_per_layer_of_a_language_model(device: DeviceInfo) -> None:
    calls, commands = [], []
    for layers in (1, 3):
        decoder = Decoder(tiny.tiny_decoder("q4m", layers=layers), threads=1, device=device.spec)
        decoder.decode(1)
        decoder.decode(2)
        (one,) = sequences(decoder)
        assert one.form == "native"
        commands.append(len(one.commands))
        calls.append(events(lambda decoder=decoder: decoder.decode(3)))
        decoder.close()
    assert commands[1] >= commands[0] + 20
    assert calls[0] == calls[1]


def test_without_a_native_loop(device: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(chain(3), device=device.spec) as session:
        right = session.run(FEEDS)["y"]

    def refuse(library: object) -> None:
        raise KernelError("the library is of older sources; build it again")

    monkeypatch.setattr(accelerator, "Enqueuer", refuse)
    with Session(chain(3), device=device.spec) as session:
        np.testing.assert_array_equal(session.run(FEEDS)["y"], right)
        assert [one.form for one in sequences(session)] == ["python"]
        assert f"({device.platform}) (enqueued by Python: the library is of older sources), cpu " in session.summary()
