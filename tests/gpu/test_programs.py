"""Programs are built once per source, device and driver; a damaged entry of the cache is built again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from edgert.errors import KernelError
from edgert.kernels_gpu import programs as module
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.programs import MAGIC, Programs, source_of
from edgert.kernels_gpu.table import Case, Twin, case_of, twins

PARAMS = {"nbytes": 64, "pattern": 7}


def _case(context: Context, twin: Twin | None = None) -> Case:
    return case_of(twin or twins()["fill_row"], PARAMS, {"y": 64}, context.device.capabilities, False)


def _entry(programs: Programs) -> Path:
    twin = twins()["fill_row"]
    return programs.path(source_of(twin, _case(programs.context)))


def test_cold_and_warm(programs: Programs) -> None:
    twin, case = twins()["fill_row"], _case(programs.context)
    programs.kernels(twin, case)
    assert (programs.built, programs.loaded) == (1, 0)
    first, second = programs.kernels(twin, case)[0], programs.kernels(twin, case)[0]
    assert (programs.built, programs.loaded) == (1, 0)
    assert first.int_ptr != second.int_ptr, "every op sets arguments of its own"
    again = Programs(programs.context, programs.folder)
    again.kernels(twin, case)
    assert (again.built, again.loaded) == (0, 1)


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other magic", "no binary at all"])
def test_a_damaged_entry_is_built_again(programs: Programs, damage: str) -> None:
    twin, case = twins()["fill_row"], _case(programs.context)
    programs.kernels(twin, case)
    path = _entry(programs)
    whole = path.read_bytes()
    nonsense = b"this is no program"
    sealed = MAGIC + hashlib.sha256(nonsense).digest() + nonsense
    path.write_bytes({
        "empty": b"", "cut": whole[:-1], "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
        "other magic": b"EDGECL0\n" + whole[8:], "no binary at all": sealed,
    }[damage])  # fmt: skip
    again = Programs(programs.context, programs.folder)
    again.kernels(twin, case)
    assert (again.built, again.loaded) == (1, 0)
    last = Programs(programs.context, programs.folder)
    last.kernels(twin, case)
    assert (last.built, last.loaded) == (0, 1), "the entry was not written again"
    assert [p.name for p in path.parent.iterdir()] == [path.name], "something was left beside it"


def test_another_driver_has_other_entries(programs: Programs) -> None:
    twin, case = twins()["fill_row"], _case(programs.context)
    programs.kernels(twin, case)
    newer = Context.__new__(Context)
    newer.__dict__ |= {**programs.context.__dict__, "device": replace(programs.context.device, driver="99.1")}
    other = Programs(newer, programs.folder)
    other.kernels(twin, case)
    assert other.built == 1
    assert len(list(programs.folder.glob("*.bin"))) == 2


def test_what_a_program_depends_on(programs: Programs) -> None:
    twin, case = twins()["fill_row"], _case(programs.context)
    key = programs.key(source_of(twin, case))
    assert programs.key(source_of(twin, replace(case, signed=True))) != key
    assert programs.key(source_of(twin, replace(case, tile={"ROWS": 2}))) != key
    assert programs.key(source_of(twin, replace(case, params={"nbytes": 99, "pattern": 1}))) == key


def test_a_folder_that_can_not_be_written(context: Context, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    programs = Programs(context, blocked / "opencl")
    assert programs.kernels(twins()["fill_row"], _case(context))


def test_the_oldest_entries_go(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 1)
    twin, case = twins()["fill_row"], _case(programs.context)
    programs.kernels(twin, case)
    programs.kernels(twin, replace(case, signed=True))
    (left,) = programs.folder.glob("*.bin")
    assert left == programs.path(source_of(twin, replace(case, signed=True)))


def test_a_failed_build_says_why(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    text = module._text
    broken = "KERNEL(fill_row) { OPERANDS y[0] = nowhere; }"
    monkeypatch.setattr(module, "_text", lambda name: broken if name == "fill_row.cl" else text(name))
    with pytest.raises(KernelError) as caught:
        programs.kernels(twins()["fill_row"], _case(programs.context))
    said = str(caught.value)
    assert said.startswith(f"fill_row can not be built for {programs.context.device.spec}")
    assert "nowhere" in said and "--device cpu" in said
    assert len(said.splitlines()) <= module.LOG_LINES + 2
    assert not list(programs.folder.glob("*")), "nothing of it is kept"
