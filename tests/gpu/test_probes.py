"""Whether the integer dot product is used, and what changing sides takes: measured once, and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgert.kernels_gpu import probes as module
from edgert.kernels_gpu.choices import Choices
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.measure import Times
from edgert.kernels_gpu.probes import crossing, integer_dot_pays, settle
from edgert.kernels_gpu.programs import Programs, source_of
from edgert.kernels_gpu.table import Case, twins


def saying(context: Context, integer_dot: bool) -> Context:
    """The same context, whose device says that it has the instruction, or none."""
    here = Context.__new__(Context)
    can = replace(context.device.capabilities, integer_dot=integer_dot)
    here.__dict__ |= {**context.__dict__, "device": replace(context.device, capabilities=can)}
    return here


@pytest.mark.parametrize(
    ("with_it", "without", "pays"), [(10.0, 20.0, True), (30.0, 20.0, False), (19.5, 20.0, False), (20.0, 20.0, False)]
)
def test_an_instruction_that_does_not_pay(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_it: float, without: float, pays: bool
) -> None:
    """What the driver says of itself stays where the products are clearly faster with it; the answer is kept."""
    measured: list[int] = []

    def times(forms: list[Any]) -> Times:
        measured.append(len(forms))
        return Times([with_it, without], None)

    monkeypatch.setattr(module, "best_times", times)
    monkeypatch.setattr(module, "_sequence", lambda *args: None)
    for _ in range(2):
        here = saying(context, True)
        choices = Choices(here.device, tmp_path)
        assert integer_dot_pays(here.device, choices) is (pays if measured else None)
        device = here.device
        settle(here, Programs(here, tmp_path), choices)
        assert here.device.capabilities.integer_dot == pays
        assert integer_dot_pays(device, choices) is pays
    assert measured == [2]


def test_a_device_without_the_instruction_is_not_measured(context: Context, tmp_path: Path) -> None:
    here = saying(context, False)
    choices = Choices(here.device, tmp_path)
    settle(here, Programs(here, tmp_path), choices)
    assert len(choices) == 0 and integer_dot_pays(here.device, choices) is None


def test_the_probe_is_the_kernel_that_networks_run(context: Context) -> None:
    """Its sources differ in the instruction alone, and the first tile is one that would use it."""
    with_it, without = module._cases(saying(context, True).device.capabilities)
    twin = twins()[module.PROBE]
    assert source_of(twin, with_it) == source_of(twin, without).replace("HAS_INTEGER_DOT 0", "HAS_INTEGER_DOT 1")
    assert with_it.tile["PIXELS"] <= 4


def test_the_probe_runs(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every device: here without the instruction twice."""
    usual = module._cases

    def both_without(can: Any) -> list[Case]:
        return [usual(can)[1]] * 2

    monkeypatch.setattr(module, "_cases", both_without)
    here = saying(context, True)
    choices = Choices(here.device, tmp_path)
    settle(here, Programs(here, tmp_path), choices)
    assert len(choices) == 1


def test_what_changing_sides_takes_is_kept(context: Context, tmp_path: Path) -> None:
    choices = Choices(context.device, tmp_path)
    wait, byte = crossing(context, choices)
    assert 0 < wait < 1e6 and 0 <= byte < 1
    assert crossing(context, Choices(context.device, tmp_path)) == (wait, byte)
    assert len(choices) == 2
