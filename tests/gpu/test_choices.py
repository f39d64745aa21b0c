"""Numbers of a device are kept whole, with those of other processes; what is damaged is as if it were not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgert.kernels_gpu.choices import Choices, store_whole
from edgert.kernels_gpu.device import DeviceInfo


def test_they_are_kept(device: DeviceInfo, tmp_path: Path) -> None:
    first = Choices(device, tmp_path / "new" / "folder")
    assert first.get("a") is None and "a" not in first
    first.put("a", 3)
    again = Choices(device, tmp_path / "new" / "folder")
    assert again.get("a") == 3 and "a" in again and len(again) == 1
    assert Choices(replace(device, driver="99"), tmp_path / "new" / "folder").get("a") is None
    assert [path.name for path in again.path.parent.iterdir()] == [again.path.name], "something was left beside it"


def test_two_processes(device: DeviceInfo, tmp_path: Path) -> None:
    one, other = Choices(device, tmp_path), Choices(device, tmp_path)
    one.put("a", 1)
    other.put("b", 2)
    assert Choices(device, tmp_path).get("a") == 1 and other.get("a") == 1


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"tiles": 3}', '{"tiles": {"k": "x"}}', '{"tiles": {"k": -4}}', '{"tiles": {"k": true}}', "\x00",
     "[" * 100_000],
)  # fmt: skip
def test_a_damaged_file(device: DeviceInfo, tmp_path: Path, text: str) -> None:
    Choices(device, tmp_path).path.write_text(text)
    found = Choices(device, tmp_path)
    assert found.get("k") is None
    found.put("k", 5)
    assert Choices(device, tmp_path).get("k") == 5
    assert json.loads(found.path.read_text())["device"][0] == device.name


def test_a_file_of_other_bytes(device: DeviceInfo, tmp_path: Path) -> None:
    Choices(device, tmp_path).path.write_bytes(b"\xff\xfe\x80")
    assert len(Choices(device, tmp_path)) == 0


def test_a_folder_that_can_not_be_written(device: DeviceInfo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = Choices(device, tmp_path / "file" / "opencl")
    found.put("a", 1)
    assert found.get("a") == 1


def test_nothing_is_left_of_an_interrupted_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store_whole(tmp_path / "f", b"x")
    assert not list(tmp_path.iterdir())


def test_many_processes_write_whole_files(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgert.kernels_gpu.choices import store_whole\n"
        "for _ in range(200): store_whole(Path(sys.argv[1]), sys.argv[2].encode() * 5000)"
    )
    target = tmp_path / "f"
    words = ("abc", "xyz", "123")
    running = [subprocess.Popen([sys.executable, "-c", code, str(target), word], env=os.environ) for word in words]
    while any(process.poll() is None for process in running):
        if target.exists():
            assert target.read_bytes() in [word.encode() * 5000 for word in words]
    assert all(process.returncode == 0 for process in running)
