"""`edgert doctor`: every library with its state and reason, what is in use, and whether anything runs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from elf_image import image

from edgert.cache import cache_root
from edgert.cli import doctor_opencl
from edgert.cli.main import main
from edgert.kernels_cpu.aot import build_library
from edgert.kernels_cpu.installed import library_name
from edgert.kernels_cpu.jit import cache_folder
from edgert.kernels_cpu.levels import LEVELS, host_levels
from edgert.stream import probe

PLAIN = host_levels()[0]
FOREIGN = LEVELS["armv8-a" if PLAIN.arch == "x86_64" else "x86-64-v3"]


@pytest.fixture(autouse=True)
def nothing_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGERT_KERNELS", "EDGERT_KERNEL_FOLDER", "EDGERT_ISA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Libraries as a wheel has them: one of the plainest level that is sound, and one for another processor."""
    folder = tmp_path / "lib"
    build_library(PLAIN, folder, ["fill_row"], objects=cache_folder(cache_root(), PLAIN))
    (folder / library_name(FOREIGN)).write_bytes(image(FOREIGN))
    rows = []
    for path in sorted(folder.glob("*.so")):
        data = path.read_bytes()
        level = path.stem.removeprefix("libedgert_")
        rows.append({"file": path.name, "level": level, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    (folder / "manifest.json").write_text(json.dumps({"version": 1, "libraries": rows}))
    monkeypatch.setenv("EDGERT_KERNEL_FOLDER", str(folder))
    return folder


def doctor(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["doctor", *words]) == code
    return capsys.readouterr().out


def doctor_json(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    found = json.loads(doctor(capsys, *words, "--json", code=code))
    assert isinstance(found, dict)
    return found


def test_it_tests_and_measures(capsys: pytest.CaptureFixture[str]) -> None:
    found = doctor_json(capsys)
    assert found["kernels"]["usable"]
    assert found["self_test"] == []
    assert found["peaks"]["dot8"] > 0
    assert any(level["runs"] for level in found["levels"])
    out = doctor(capsys, "--no-test")
    for word in ("processor", "memory", "kernels", "level", "libraries", "opencl", "cache", "extra"):
        assert word in out


def test_the_library_in_use_and_those_that_are_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = doctor_json(capsys, "--no-test")
    assert (found["kernels"]["origin"], found["kernels"]["level"]) == ("AOT", PLAIN.name)
    assert found["kernels"]["library"] == str(folder / library_name(PLAIN))
    states = {row["level"]: (row["state"], row["reason"]) for row in found["libraries"]}
    assert states[PLAIN.name] == ("in use", "verified by its SHA-256")
    assert states[FOREIGN.name] == ("unfit", f"needs a processor of {FOREIGN.arch}")
    for level in host_levels()[1:]:
        assert states[level.name] == ("absent", f"{folder} has no {library_name(level)}")
    lines = doctor(capsys, "--no-test").splitlines()
    assert f"libraries  in {folder}" in lines
    assert f"  library  {PLAIN.name:16} in use: verified by its SHA-256" in lines
    assert f"  library  {FOREIGN.name:16} unfit: needs a processor of {FOREIGN.arch}" in lines


def test_a_flipped_byte(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / library_name(PLAIN)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = doctor_json(capsys, "--no-test")
    assert found["kernels"]["origin"] == "JIT"  # what this test runs with has Numba
    (state,) = [row for row in found["libraries"] if row["level"] == PLAIN.name]
    assert state["state"] == "refused"
    assert "is damaged: expected SHA-256" in state["reason"]
    monkeypatch.setenv("EDGERT_KERNELS", "aot")
    out = doctor(capsys, "--no-test", code=1)
    assert "kernels    none: no ahead-of-time library fits: " in out
    assert f"{PLAIN.name}: {path.name}: it is damaged: expected SHA-256" in out


def test_no_libraries_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGERT_KERNEL_FOLDER", str(tmp_path))
    out = doctor(capsys, "--no-test")
    assert f"libraries  none in {tmp_path}\n" in out
    assert "JIT: no ahead-of-time library fits; Numba compiles on first use" in out
    assert "  library  " not in out


def test_nothing_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERT_ISA", "x86-64-v9")
    assert "kernels    none: unknown ISA level 'x86-64-v9'" in doctor(capsys, code=1)
    monkeypatch.delenv("EDGERT_ISA")
    monkeypatch.setattr("edgert.runtime.selftest.self_test", lambda progress: ["it is wrong"])
    assert "self-test  it is wrong" in doctor(capsys, code=1)


def test_storage(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(probe, "CELL_SECONDS", 0.0)
    file = tmp_path / "model.edge"
    file.write_bytes(bytes(probe.BLOCKS[-1]))
    found = doctor_json(capsys, "--storage", str(file))
    assert found["source"] == "measured"
    assert {rate["depth"] for rate in found["rates"]} == set(probe.DEPTHS)
    assert found["best"]["bytes_per_second"] == max(rate["bytes_per_second"] for rate in found["rates"])
    assert probe.load_storage(tmp_path).source == "measured"
    out = doctor(capsys, "--storage", str(file))
    assert "4 at a time" in out
    assert "4.0 KB" in out
    assert "processor" not in out
    doctor(capsys, "--storage", str(tmp_path / "nothing"), code=2)


def devices(**more: object) -> dict[str, Any]:
    """Facts of one device."""
    return {
        "spec": "opencl:0", "kind": "GPU", "name": "Mali-G610", "platform": "ARM Platform", "vendor": "ARM",
        "version": "OpenCL 3.0", "driver": "3.0", "compute_units": 4, "clock_mhz": 1000, "unified_memory": True,
        "memory": 4 << 30, "largest_allocation": 1 << 30, "local_memory": 32 << 10, "work_group": 1024,
        "work_items": [1024, 1024, 1024], "fp16": True, "integer_dot_product": True, "integer_dot_product_used": True,
        "subgroups": True, "subgroup_sizes": [16], "command_buffers": False, "fault": "", **more,
    }  # fmt: skip


def test_opencl_devices(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    platforms = [{"name": "ARM Platform", "version": "OpenCL 3.0", "devices": 1}]
    facts = {"platforms": platforms, "devices": [devices()], "problem": ""}
    monkeypatch.setattr(doctor_opencl, "facts", lambda: facts)
    lines = doctor(capsys, "--no-test").splitlines()
    at = lines.index("opencl     1 device of ARM Platform (1)")
    assert lines[at + 1 : at + 4] == [
        "  device   opencl:0 GPU Mali-G610 (ARM Platform, driver 3.0), 4 units at 1000 MHz",
        "           fp16 yes, integer dot product yes, used, subgroups yes (16), command buffers no",
        "           memory 4.0 GB, unified with the processor's, largest allocation 1.0 GB, local 32.0 KB; groups of "
        "up to 1024 work-items (1024 x 1024 x 1024)",
    ]
    assert doctor_json(capsys, "--no-test")["opencl"] == facts


@pytest.mark.parametrize(("used", "words"), [(None, "yes, not measured yet"), (False, "yes, not used: slower than")])
def test_an_instruction_that_is_not_used(used: bool | None, words: str) -> None:
    facts = {"platforms": [], "devices": [devices(integer_dot_product_used=used, fault="a\n b")], "problem": ""}
    text = "\n".join(doctor_opencl.describe(facts))
    assert f"integer dot product {words}" in text
    assert text.endswith("           a\n            b")


def test_no_opencl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is no fault: the exit code is 0."""
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path))
    out = doctor(capsys, "--no-test")
    assert "\nopencl     none: expected an OpenCL platform, found none" in out
    assert "pocl-opencl-icd" in out
    found = doctor_json(capsys, "--no-test")["opencl"]
    assert found["devices"] == [] and "pocl-opencl-icd" in found["problem"]
