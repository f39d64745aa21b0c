"""What the operating system says of this machine, and what is made of odd answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgert.cache import cache_root
from edgert.device import cpu


def test_this_machine() -> None:
    assert cpu.cpu_name()
    assert cpu.usable_cores() >= 1
    ram = cpu.memory()
    assert ram.total is None or (ram.available is not None and 0 < ram.available <= ram.total)
    assert isinstance(cpu.board(), str)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    texts: dict[str, str] = {}
    monkeypatch.setattr(cpu, "_read", lambda path: texts.get(path, ""))
    cpu.cpu_name.cache_clear()
    return texts


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nCPU part\t: 0xd0b\n", "Cortex-A76"),
        ("model name\t: ARMv7 Processor rev 4 (v7l)\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n", "Cortex-A72"),
        ("CPU implementer : 0x41\nCPU part : 0xd05\n" * 4 + "CPU part : 0xd0b\n" * 4, "Cortex-A55 + Cortex-A76"),
        ("model name : Some CPU\nCPU implementer : 0x51\nCPU part : 0xd0b", "Some CPU"),
        ("model name : Some CPU\nCPU part : 0x001", "Some CPU"),
        ("model name : AMD EPYC\n", "AMD EPYC"),
    ],
)
def test_processors_have_names(files: dict[str, str], text: str, name: str) -> None:
    files["/proc/cpuinfo"] = text
    assert cpu.cpu_name() == name
    cpu.cpu_name.cache_clear()


def test_control_groups_limit_cores_and_memory(files: dict[str, str]) -> None:
    files["/sys/fs/cgroup/cpu.max"] = "100000 100000\n"
    assert cpu.usable_cores() == 1
    files["/proc/meminfo"] = "MemTotal: 1000 kB\nMemAvailable: 600 kB\n"
    assert cpu.memory() == cpu.Memory(1024000, 614400)
    files["/sys/fs/cgroup/memory.max"] = "512000\n"
    assert cpu.memory() == cpu.Memory(512000, 512000)
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert cpu.memory() == cpu.Memory(1024000, 614400)


def test_caches(files: dict[str, str]) -> None:
    cpu.private_cache.cache_clear()
    cpu.last_cache.cache_clear()
    for index, (level, size) in enumerate((("1", "48K"), ("1", "32K"), ("2", "1024K"), ("3", "32M"))):
        files[f"/sys/devices/system/cpu/cpu0/cache/index{index}/level"] = f"{level}\n"
        files[f"/sys/devices/system/cpu/cpu0/cache/index{index}/size"] = f"{size}\n"
    assert (cpu.private_cache(), cpu.last_cache()) == (1 << 20, 32 << 20)
    cpu.private_cache.cache_clear()
    cpu.last_cache.cache_clear()


def test_nothing_known(files: dict[str, str]) -> None:
    assert cpu.memory() == cpu.Memory(None, None)
    assert cpu.usable_cores() >= 1
    assert cpu.board() == ""
    cpu.cpu_name.cache_clear()


def test_cache_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGERT_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("EDGERT_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "edgert"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "edgert"
    monkeypatch.setattr("sys.platform", "darwin")
    assert "Library" in cache_root().parts
