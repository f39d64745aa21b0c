"""The faster tile is found, kept, and looked for again when anything that matters is another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgert.errors import DeviceError, KernelError
from edgert.kernels_gpu import tune as module
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.launch import Command
from edgert.kernels_gpu.table import Case, Twin, case_of, flat
from edgert.kernels_gpu.tune import Tuner

TWIN = Twin("fill_row", lambda case: flat(1), tiles=({"N": 1}, {"N": 2}, {"N": 4}))


class Times:
    """Stands in for the device: microseconds by tile; an exception is raised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: dict[int, float | Exception]) -> None:
        self.times, self.seen = times, list[int]()
        stand_in = self

        class Timed:
            def __init__(self, context: Context, commands: list[Command]) -> None:
                self.tile = int(commands[0].name)

            def profile(self) -> list[float]:
                stand_in.seen.append(self.tile)
                us = stand_in.times[self.tile]
                if isinstance(us, Exception):
                    raise us
                return [us / 2, us / 2]

        monkeypatch.setattr(module, "Sequence", Timed)

    def trial(self, case: Case) -> list[Command]:
        return [Command(str(case.tile["N"]), None, (1,), (1,))]


def case(context: Context, nbytes: int = 64) -> Case:
    params = {"nbytes": nbytes, "pattern": 0}
    return case_of(TWIN, params, {"y": nbytes}, context.device.capabilities, False)


def test_the_fastest_is_kept(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch, {1: 10.0, 2: 5.0, 4: 4.9})
    tuner = Tuner(context, tmp_path)
    assert tuner.tile(TWIN, case(context), times.trial) == {"N": 2}, "two hundredths are noise"
    once = len(times.seen)
    assert times.seen[:6] == [1, 2, 4, 1, 2, 4], "in turn"
    assert tuner.tile(TWIN, case(context), times.trial) == {"N": 2}
    assert Tuner(context, tmp_path).tile(TWIN, case(context), times.trial) == {"N": 2}
    assert len(times.seen) == once and tuner.searched == 1
    tuner.tile(TWIN, case(context, 128), times.trial)
    tuner.tile(replace(TWIN, tiles=TWIN.tiles[:2]), case(context), times.trial)
    assert tuner.searched == 3
    other = Context.__new__(Context)
    other.__dict__ |= {**context.__dict__, "device": replace(context.device, driver="99")}
    assert Tuner(other, tmp_path).choices.path != tuner.choices.path


def test_a_choice_that_is_no_tile(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch, {1: 3.0, 2: 2.0, 4: 1.0})
    tuner = Tuner(context, tmp_path)
    tuner.choices.put(module._key(TWIN, case(context)), 7)
    assert tuner.tile(TWIN, case(context), times.trial) == {"N": 4}


def test_tiles_that_do_not_work_here(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch, {1: DeviceError("too wide"), 2: 9.0, 4: DeviceError("too wide too")})
    assert Tuner(context, tmp_path).tile(TWIN, case(context), times.trial) == {"N": 2}
    none = Times(monkeypatch, dict.fromkeys((1, 2, 4), DeviceError("too wide")))
    with pytest.raises(DeviceError, match="too wide"):
        Tuner(context, tmp_path / "other").tile(TWIN, case(context), none.trial)

    def refused(found: Case) -> list[Command]:
        raise KernelError("it can not be built")

    with pytest.raises(KernelError, match="it can not be built"):
        Tuner(context, tmp_path / "other").tile(TWIN, case(context), refused)


def test_one_tile_is_not_measured(context: Context, tmp_path: Path) -> None:
    def fail(found: Case) -> list[Command]:
        raise AssertionError

    assert Tuner(context, tmp_path).tile(replace(TWIN, tiles=({},)), case(context), fail) == {}
    assert not list(tmp_path.iterdir())


def test_the_time_of_an_op_is_kept(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch, {1: 10.0, 2: 5.0, 4: 8.0})
    assert Tuner(context, tmp_path).time(TWIN, case(context), times.trial) == 5.0
    seen = len(times.seen)
    assert Tuner(context, tmp_path).time(TWIN, case(context), times.trial) == 5.0
    assert len(times.seen) == seen
