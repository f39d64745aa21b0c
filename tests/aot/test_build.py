"""Libraries of several levels built side by side, and the manifest that lists them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from harness import CACHE

from edgert.errors import KernelError
from edgert.kernels_cpu import aot_build, jit
from edgert.kernels_cpu.abi import ABI_VERSION
from edgert.kernels_cpu.aot import build_library
from edgert.kernels_cpu.aot_build import BuildReport, build_all, targets
from edgert.kernels_cpu.installed import read_manifest, verify
from edgert.kernels_cpu.levels import LEVELS, Level
from edgert.kernels_cpu.registry import kernels

NAMES = ["fill_row"]
BUILT = ["x86-64", "armv8-a", "armv7-neon"]


def build(folder: Path, *levels: str, names: list[str] | None = None) -> BuildReport:
    return build_all(targets(levels), folder, cache=CACHE, names=NAMES if names is None else names, jobs=2)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BuildReport]:
    """A folder with libraries of one kernel for three levels, of two word sizes; not to be written to."""
    folder = tmp_path_factory.mktemp("built")
    return folder, build(folder, *BUILT)


def test_the_report_is_of_the_files(built: tuple[Path, BuildReport]) -> None:
    folder, report = built
    assert [library.level for library in report.libraries] == BUILT
    for library in report.libraries:
        data = (folder / library.file).read_bytes()
        assert (library.bytes, library.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert 0 < library.deflated < library.bytes
        assert library.bits == (32 if library.arch == "armv7" else 64)
        assert library.kernels == 1
        assert 0 < library.seconds <= report.seconds
    assert report.outdated == ()
    rows = report.text().splitlines()
    assert [row.split()[0] for row in rows] == ["level", *BUILT, "together"]
    assert json.loads(json.dumps(report.as_json()))["libraries"][0]["file"] == report.libraries[0].file


def test_the_manifest_is_what_loading_is_held_against(built: tuple[Path, BuildReport]) -> None:
    folder, report = built
    content = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert content["abi"] == ABI_VERSION
    assert content["sources"] == report.sources == jit.sources_hash(NAMES)
    assert {row["arch"] for row in content["libraries"]} == {"x86_64", "aarch64", "armv7"}
    entries = read_manifest(folder)
    for name in BUILT:
        assert verify(folder / f"libedgert_{name}.so", LEVELS[name], entries) == "verified by its SHA-256"
    assert len(list(folder.iterdir())) == len(BUILT) + 1


def test_the_same_sources_give_the_same_bytes(built: tuple[Path, BuildReport], tmp_path: Path) -> None:
    folder, _ = built
    build(tmp_path, *BUILT)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_an_object_is_the_same_whatever_was_compiled_before_it(tmp_path: Path) -> None:
    """In one process, as the compiler works through its names."""
    name = "depthwise_q8_k4p"  # not so small that all of it ends up in its entry point
    compiler = [sys.executable, "-m", "edgert.kernels_cpu.compiler", "--level", "armv8-a", "--out"]
    for folder, names in (("alone", [name]), ("after", ["fill_row", name])):
        subprocess.run([*compiler, str(tmp_path / folder), *names], check=True)
    made = Path(jit.object_name(name))
    for file in (made, made.with_suffix(jit.LISTING)):
        assert (tmp_path / "alone" / file).read_bytes() == (tmp_path / "after" / file).read_bytes()


def test_libraries_that_were_there_stay_listed(tmp_path: Path) -> None:
    build(tmp_path, "x86-64")
    assert build(tmp_path, "armv7-neon").outdated == ()
    assert list(read_manifest(tmp_path) or {}) == ["libedgert_x86-64.so", "libedgert_armv7-neon.so"]
    report = build(tmp_path, "armv7-neon", names=[])  # other sources
    assert report.outdated == ("libedgert_x86-64.so",)
    assert list(read_manifest(tmp_path) or {}) == ["libedgert_armv7-neon.so"]
    assert report.text().splitlines()[-1].startswith("libedgert_x86-64.so is of other sources")


def test_a_damaged_manifest_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    build(tmp_path, "x86-64")
    assert list(read_manifest(tmp_path) or {}) == ["libedgert_x86-64.so"]


def test_kernels_that_do_not_keep_to_their_level_are_not_linked(tmp_path: Path) -> None:
    level = LEVELS["armv8-a"]
    objects = jit.cache_folder(CACHE, level)
    jit.compile_missing(objects, level, ["engine", *NAMES])
    copies = tmp_path / "objects"
    copies.mkdir()
    for name in ("engine", *NAMES):
        for path in (objects / jit.object_name(name), (objects / jit.object_name(name)).with_suffix(".isa")):
            shutil.copy(path, copies)
    listing = (copies / jit.object_name("fill_row")).with_suffix(".isa")
    listing.write_text(listing.read_text("utf-8") + "\nsdot v.16b v.4s")
    with pytest.raises(KernelError, match=r"do not keep to armv8-a: fill_row: dotprod is not part of armv8-a: sdot"):
        build_library(level, tmp_path / "lib", NAMES, objects=copies)
    listing.unlink()
    with pytest.raises(KernelError, match=r"\.isa is missing; delete fill_row-\w+\.o and run again"):
        build_library(level, tmp_path / "lib", NAMES, objects=copies)
    assert list((tmp_path / "lib").iterdir()) == []


def test_one_level_that_fails_leaves_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="no_such_kernel"):
        build(tmp_path, "x86-64", names=["no_such_kernel"])
    assert list(tmp_path.iterdir()) == []


def test_progress_is_of_all_levels_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[int, int]] = []
    tell = aot_build._Sum(3, lambda done, total: said.append((done, total)))
    for level, done in (("a", 0), ("b", 0), ("a", 1), ("b", 1), ("b", 2)):
        tell(level, done)
    assert said == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_names_of_targets() -> None:
    assert [level.name for level in targets(["aarch64"])] == ["armv8-a", "armv8.2-dotprod", "armv8.6-i8mm"]
    assert [level.name for level in targets(["armv7l", "armv8-a"])] == ["armv7-neon", "armv8-a"]
    assert len(targets(["all", "aarch64"])) == len(LEVELS) - 1
    with pytest.raises(KernelError, match=r"unknown ISA level 'z80'"):
        targets(["z80"])
    with pytest.raises(KernelError, match="wasm32-simd128 has no shared libraries"):
        targets(["wasm32-simd128"])


TOUCH = "import pathlib, sys; [pathlib.Path(name).touch() for name in sys.argv[1:]]"
FAIL = "import sys; sys.exit('no memory left')"


@pytest.fixture
def compilers(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Compilers are replaced by programs that leave empty objects; what each was given. EDGERT_TEST_FAIL fails one."""
    given: list[list[str]] = []

    def start(level: Level, folder: Path, names: Sequence[str]) -> subprocess.Popen[str]:
        given.append(list(names))
        code = FAIL if "engine" in names and os.environ.get("EDGERT_TEST_FAIL") else TOUCH
        command = [sys.executable, "-c", code, *(str(folder / jit.object_name(name)) for name in names)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    monkeypatch.setattr(jit, "_start", start)
    return given


def test_a_compiler_gets_no_more_than_fits_its_memory(compilers: list[list[str]], tmp_path: Path) -> None:
    names, said = ["engine", *list(kernels())[:60]], []
    jit.compile_missing(tmp_path, LEVELS["armv8-a"], names, lambda done, total: said.append((done, total)), workers=2)
    assert sorted(name for batch in compilers for name in batch) == sorted(names)
    assert len(compilers) == 3
    assert max(map(len, compilers)) <= jit.BATCH
    assert (said[0], said[-1]) == ((0, 61), (61, 61))
    assert jit.missing_of(tmp_path, names) == []
    jit.compile_missing(tmp_path, LEVELS["armv8-a"], names)
    assert len(compilers) == 3, "nothing was missing"


def test_what_a_compiler_says_when_it_fails(
    compilers: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGERT_TEST_FAIL", "1")
    with pytest.raises(KernelError, match=r"compiling binary_q8, engine, fill_row for armv8-a failed: no memory left"):
        jit.compile_missing(tmp_path, LEVELS["armv8-a"], ["engine", "fill_row", "binary_q8"], workers=1)
