"""Packages of another architecture or release come by an apt that touches nothing of the machine; a tree is whole or
not there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgert.assets import debian, registry
from edgert.assets.fetch import asset_folder, pull
from edgert.assets.registry import Asset, AssetError, Tree

TREE = Tree("bookworm", "arm64", ("some",), 1000)
DUMP = """Acquire::http::Proxy "http://proxy:3128/";
Acquire::Retries "3";
Acquire::AllowInsecureRepositories "1";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Dir::Etc "etc/apt/";
"""
MIRRORS = "https://example.invalid/debian-security/\nhttps://mirror.invalid/debian/\nhttps://other.invalid/debian/\n"


class Machine:
    """Stands in for running apt and dpkg: what they say, what was run, and the settings they were given."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.settings = self.sources = ""
        self.mirrors, self.failing = MIRRORS, ""

    def run(self, command: list[str], *, env: dict[str, str], **_: object) -> subprocess.CompletedProcess[bytes]:
        self.commands.append(command)
        said = {"indextargets": self.mirrors, "dump": DUMP, "--print-architecture": "amd64\n"}.get(command[1], "")
        if command[1] == self.failing:
            return subprocess.CompletedProcess(command, 100, b"", b"W: slow\nE: not signed\n")
        if command[1] == "update":
            settings = Path(env["APT_CONFIG"])
            self.settings = settings.read_text()
            self.sources = settings.with_name("sources.list").read_text()
        elif command[1] == "install":
            archives = Path(env["APT_CONFIG"]).parent / "cache" / "archives"
            (archives / "some_1%3a2.0-1_arm64.deb").touch()
        elif command[1] == "-x":
            for name in ("usr/bin/some-static", "usr/bin/other", "usr/lib/lib.so"):
                path = Path(command[3], name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(name)
        return subprocess.CompletedProcess(command, 0, said.encode(), b"")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    stand_in = Machine()
    keys = tmp_path / "debian.gpg"
    keys.touch()
    monkeypatch.setattr(debian, "KEYRINGS", (tmp_path / "none.gpg", keys))
    monkeypatch.setattr(subprocess, "run", stand_in.run)
    return stand_in


def test_apt_works_in_a_state_of_its_own(machine: Machine, tmp_path: Path) -> None:
    assert debian.unpack(TREE, tmp_path / "root") == {"some": "1:2.0-1"}
    keys = tmp_path / "debian.gpg"
    assert machine.sources == f"deb [signed-by={keys}] https://mirror.invalid/debian/ bookworm main\n"
    assert 'APT::Architecture "arm64"' in machine.settings
    for place in ("Dir::State ", "Dir::State::status", "Dir::State::lists", "Dir::Cache"):
        (path,) = re.findall(f'{place} ?"([^"]*)"', machine.settings)
        assert Path(path).is_absolute()
        assert not Path(path).exists()  # it was temporary
    assert 'Acquire::http::Proxy "http://proxy:3128/"' in machine.settings
    assert 'Acquire::Retries "3"' in machine.settings
    assert "AllowInsecure" not in machine.settings
    assert "DEP-11" not in machine.settings


def test_the_whole_tree_and_merged_folders(machine: Machine, tmp_path: Path) -> None:
    root = tmp_path / "root"
    debian.unpack(TREE, root)
    assert (root / "usr/bin/other").read_text() == "usr/bin/other"
    assert (root / "lib/lib.so").read_text() == "usr/lib/lib.so"
    assert (root / "lib").is_symlink()
    assert not (root / "sbin").exists()


def test_only_what_is_kept(machine: Machine, tmp_path: Path) -> None:
    tree = Tree("bookworm", "", ("some",), 1000, keep=("usr/bin/*-static",))
    debian.unpack(tree, tmp_path / "root")
    assert [path.name for path in (tmp_path / "root").rglob("*") if path.is_file()] == ["some-static"]
    assert 'APT::Architecture "amd64"' in machine.settings
    assert sorted(path.name for path in tmp_path.iterdir()) == ["debian.gpg", "root"]


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ("update", r"tried `apt-get update .*`, which failed \(exit 100\) and said: E: not signed"),
        ("install", "tried `apt-get install .*--download-only some`"),
        ("-x", "tried `dpkg-deb -x"),
    ],
)
def test_failure_says_what_was_tried(failing: str, said: str, machine: Machine, tmp_path: Path) -> None:
    machine.failing = failing
    with pytest.raises(AssetError, match=said) as caught:
        debian.unpack(TREE, tmp_path / "root")
    assert "\n" not in str(caught.value)
    assert "Debian 12 or newer" in str(caught.value)


def test_no_mirror_of_debian(machine: Machine, tmp_path: Path) -> None:
    machine.mirrors = "https://other.invalid/ubuntu/\n"
    with pytest.raises(AssetError, match=r"expected a mirror of Debian .*, found https://other\.invalid/ubuntu/"):
        debian.unpack(TREE, tmp_path / "root")


def test_no_keys_of_debian(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "KEYRINGS", (tmp_path / "none.gpg",))
    with pytest.raises(AssetError, match=r"expected Debian's keys in .*none\.gpg, found none"):
        debian.unpack(TREE, tmp_path / "root")


def test_a_machine_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "debian.gpg"
    keys.touch()
    monkeypatch.setattr(debian, "KEYRINGS", (keys,))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssetError, match="there is no apt-get"):
        debian.unpack(TREE, tmp_path / "root")


class TestPull:
    """A tree as an asset."""

    @pytest.fixture
    def unpacked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Tree], list[Tree]]:
        """A cache of its own; unpacked(tree) pulls it and says which trees were unpacked so far."""
        runs: list[Tree] = []

        def unpack(tree: Tree, root: Path) -> dict[str, str]:
            runs.append(tree)
            root.mkdir()
            (root / f"file{len(runs)}").touch()
            return {"some": "1.0"}

        monkeypatch.setenv("EDGERT_CACHE", str(tmp_path))
        monkeypatch.setattr(debian, "unpack", unpack)

        def get(tree: Tree) -> list[Tree]:
            monkeypatch.setattr(registry, "assets", lambda: {"tree": Asset("tree", "", "", (), tree=tree)})
            assert pull("tree") == asset_folder("tree") / "root"
            return runs

        return get

    def test_once(self, unpacked: Callable[[Tree], list[Tree]]) -> None:
        assert unpacked(TREE) == [TREE]
        assert unpacked(TREE) == [TREE]
        note = json.loads((asset_folder("tree") / "root.json").read_text())
        assert note["versions"] == {"some": "1.0"}
        assert note["asked"]["packages"] == ["some"]

    def test_again_when_another_tree_is_asked_for(self, unpacked: Callable[[Tree], list[Tree]]) -> None:
        other = Tree("trixie", "arm64", ("some",), 1000)
        unpacked(TREE)
        assert unpacked(other) == [TREE, other]
        assert [path.name for path in (asset_folder("tree") / "root").iterdir()] == ["file2"]

    @pytest.mark.parametrize("note", [None, "", "[]", "{}"])
    def test_again_when_it_is_not_whole(self, note: str | None, unpacked: Callable[[Tree], list[Tree]]) -> None:
        unpacked(TREE)
        path = asset_folder("tree") / "root.json"
        path.unlink() if note is None else path.write_text(note)
        assert unpacked(TREE) == [TREE, TREE]

    def test_nothing_is_left_of_a_failure(self, unpacked: Callable[[Tree], list[Tree]], monkeypatch) -> None:  # type: ignore[no-untyped-def]
        def fail(tree: Tree, root: Path) -> dict[str, str]:
            root.mkdir()
            raise AssetError("no mirror")

        monkeypatch.setattr(debian, "unpack", fail)
        with pytest.raises(AssetError, match=r"can not get tree: no mirror$"):
            unpacked(TREE)
        assert list(asset_folder("tree").iterdir()) == []
