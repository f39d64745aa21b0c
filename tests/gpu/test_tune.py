"""The faster tile is found, kept, and looked for again when anything that matters is another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgert.errors import DeviceError
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
    assert len(times.seen) == 3 * module.ROUNDS
    assert tuner.tile(TWIN, case(context), times.trial) == {"N": 2}
    assert Tuner(context, tmp_path).tile(TWIN, case(context), times.trial) == {"N": 2}
    assert len(times.seen) == 3 * module.ROUNDS
    tuner.tile(TWIN, case(context, 128), times.trial)
    tuner.tile(replace(TWIN, tiles=TWIN.tiles[:2]), case(context), times.trial)
    assert len(times.seen) == (3 + 3 + 2) * module.ROUNDS
    other = Context.__new__(Context)
    other.__dict__ |= {**context.__dict__, "device": replace(context.device, driver="99")}
    assert Tuner(other, tmp_path).path != tuner.path


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tiles": 3}', '{"tiles": {"fill_row": "x"}}', "\x00"])
def test_a_damaged_file(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    times = Times(monkeypatch, {1: 1.0, 2: 2.0, 4: 3.0})
    Tuner(context, tmp_path).path.write_text(text)
    assert Tuner(context, tmp_path).tile(TWIN, case(context), times.trial) == {"N": 1}
    assert times.seen
    assert len(Tuner(context, tmp_path)._chosen) == 1


def test_a_choice_that_is_no_tile(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch, {1: 3.0, 2: 2.0, 4: 1.0})
    tuner = Tuner(context, tmp_path)
    tuner._chosen[module._key(TWIN, case(context))] = 7
    assert tuner.tile(TWIN, case(context), times.trial) == {"N": 4}


def test_tiles_that_do_not_work_here(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch, {1: DeviceError("too wide"), 2: 9.0, 4: DeviceError("too wide too")})
    assert Tuner(context, tmp_path).tile(TWIN, case(context), times.trial) == {"N": 2}
    none = Times(monkeypatch, dict.fromkeys((1, 2, 4), DeviceError("too wide")))
    with pytest.raises(DeviceError, match="too wide"):
        Tuner(context, tmp_path / "other").tile(TWIN, case(context), none.trial)


def test_one_tile_is_not_measured(context: Context, tmp_path: Path) -> None:
    def fail(found: Case) -> list[Command]:
        raise AssertionError

    assert Tuner(context, tmp_path).tile(replace(TWIN, tiles=({},)), case(context), fail) == {}
    assert not list(tmp_path.iterdir())


def test_an_instruction_that_does_not_pay(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver says of itself stays where the probe is faster with it; the answer is kept."""
    from edgert.kernels_gpu.programs import Programs

    for with_it, without, kept in ((10.0, 20.0, True), (30.0, 20.0, False)):
        here = Context.__new__(Context)
        can = replace(context.device.capabilities, integer_dot=True)
        here.__dict__ |= {**context.__dict__, "device": replace(context.device, capabilities=can)}
        times = iter([with_it] * module.ROUNDS + [without] * module.ROUNDS)

        class Timed:
            def __init__(self, context: Context, commands: list[Command]) -> None:
                pass

            def profile(self, times=times) -> list[float]:  # type: ignore[no-untyped-def]
                return [next(times)]

        monkeypatch.setattr(module, "Sequence", Timed)
        monkeypatch.setattr(Programs, "functions", lambda *args: [SimpleNamespace(set_arg=lambda *args: None)])
        for _ in range(2):
            here.device = replace(here.device, capabilities=can)
            Tuner(here, tmp_path / str(kept)).settle(Programs(here, tmp_path))
            assert here.device.capabilities.integer_dot == kept
        assert next(times, None) is None


def test_the_time_of_an_op_is_kept(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch, {1: 10.0, 2: 5.0, 4: 8.0})
    assert Tuner(context, tmp_path).time(TWIN, case(context), times.trial) == 5.0
    seen = len(times.seen)
    assert Tuner(context, tmp_path).time(TWIN, case(context), times.trial) == 5.0
    assert len(times.seen) == seen


def test_what_changing_sides_takes_is_kept(context: Context, tmp_path: Path) -> None:
    first = Tuner(context, tmp_path)
    wait, byte = first.crossing()
    assert 0 < wait < 1e6 and 0 <= byte < 1
    assert Tuner(context, tmp_path).crossing() == (wait, byte)
    assert len(Tuner(context, tmp_path)._chosen) == 2
