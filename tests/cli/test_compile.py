"""`edgert compile` writes libraries that sessions take, and says what they cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import edgert
from edgert.cli.main import main
from edgert.kernels_cpu.aot_elf import check_elf
from edgert.kernels_cpu.installed import library_name
from edgert.kernels_cpu.levels import active_level
from edgert.kernels_cpu.registry import kernels


def test_compile(
    default_model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    capsys.readouterr()
    folder, level = tmp_path / "lib", active_level()
    assert main(["compile", "-o", str(folder), "--jobs", "2", "--report", str(tmp_path / "report.json"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    path = folder / library_name(level)
    assert result.pop("folder") == str(folder)
    assert result == json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert result["jobs"] == 2
    (row,) = result["libraries"]
    assert (row["level"], row["bytes"]) == (level.name, path.stat().st_size)
    assert row["kernels"] == sum(spec.available(level) for spec in kernels().values())
    assert check_elf(path.read_bytes(), level) == []
    assert sorted(folder.iterdir()) == [path, folder / "manifest.json"]
    monkeypatch.setenv("EDGERT_KERNEL_FOLDER", str(folder))
    with edgert.load(default_model("f32"), shapes={"N": 1}) as session:
        assert session.kernels == "AOT"


def test_an_unknown_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "--target", "z80", "-o", str(tmp_path)]) == 2
    assert "armv8.2-dotprod" in capsys.readouterr().err


def test_a_target_without_shared_libraries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A module of WebAssembly is made alone, see tests/wasm."""
    assert main(["compile", "--target", "wasm32-simd128", "--target", "armv8-a", "-o", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: wasm32-simd128 has no shared libraries")
