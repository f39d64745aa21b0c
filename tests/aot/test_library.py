"""What a kernel library must be, and one clear error for each that is not: foreign, outdated, incomplete, or absent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from harness import CACHE, shared_library

import edgert
from edgert.errors import KernelError
from edgert.format import read_model
from edgert.graph.infer import infer_types
from edgert.kernels_cpu import jit
from edgert.kernels_cpu.abi import ABI_VERSION
from edgert.kernels_cpu.aot import build_library, check_library
from edgert.kernels_cpu.elf import read_elf
from edgert.kernels_cpu.levels import LEVELS, Level, active_level, host_levels
from edgert.kernels_cpu.library import ENGINE_SYMBOLS, AotLibrary, library_name, open_library
from edgert.plan.planner import make_plan

LEVEL = host_levels()[0]
WIDER = LEVELS["armv8.2-dotprod" if LEVEL.arch == "aarch64" else "x86-64-v3"]
Link = Callable[..., Path]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the objects of the engine and of one kernel."""
    folder = jit.cache_folder(CACHE, LEVEL)
    jit.compile_missing(folder, LEVEL, ["engine", "fill_row"])
    return folder


@pytest.fixture
def link(objects: Path, tmp_path: Path) -> Link:
    """link(flags, objects): a library linked another way than ours are."""

    def get(*flags: str, names: tuple[str, ...] = ("engine", "fill_row")) -> Path:
        out = tmp_path / "odd.so"
        emulation = {"x86_64": "elf_x86_64", "aarch64": "aarch64linux"}[LEVEL.arch]
        command = ["ld.lld", "-m", emulation, "-shared", "--hash-style=both", "-o", out]
        files = [objects / jit.object_name(name) for name in names]
        subprocess.run([sys.executable, "-m", "ziglang", *command, *flags, *files], check=True, timeout=60)
        return out

    return get


SOUND = ("-z", "max-page-size=16384", "-z", "noexecstack")


def test_sound_libraries_have_no_faults(link: Link) -> None:
    assert check_library(link(*SOUND).read_bytes()) == []
    for level in (LEVEL, LEVELS["armv8.2-dotprod"]):
        path = shared_library(level)
        assert path.name == library_name(level)
        assert check_library(path.read_bytes()) == []


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (("-z", "max-page-size=4096"), "a segment is aligned to 4096, expected 16384"),
        ((*SOUND, "-z", "execstack"), "it asks for an executable stack"),
        ((*SOUND, "--omagic"), "a segment is writable and executable"),
        ((*SOUND, "--defsym=stray=0", "--export-dynamic-symbol=stray"), "exports stray"),
    ],
)
def test_planted_faults_are_found(link: Link, flags: tuple[str, ...], fault: str) -> None:
    assert fault in check_library(link(*flags).read_bytes())


def test_a_library_of_the_system_is_not_fit(tmp_path: Path) -> None:
    """An extension module: it needs libc, and has its functions from there."""
    spec = find_spec("numpy._core._multiarray_umath")
    assert spec is not None
    assert spec.origin is not None
    faults = check_library(Path(spec.origin).read_bytes())
    assert "it needs other libraries" in faults
    assert any("undefined symbol" in fault or "no table of symbols" in fault for fault in faults)
    assert check_library(b"#!/bin/sh\n") == ["expected an ELF library, found a file that begins with b'#!/b'"]


def test_another_abi_is_refused_before_it_is_loaded(tmp_path: Path, link: Link) -> None:
    path = link(*SOUND)
    data = bytearray(path.read_bytes())
    elf = read_elf(path.read_bytes())
    (at,) = [elf.place(value) for name, _, value in elf.symbols() if name == "edgert_abi_version"]
    assert data[at : at + 8] == ABI_VERSION.to_bytes(8, "little")
    data[at] += 1
    newer = tmp_path / "newer.so"
    newer.write_bytes(data)
    with pytest.raises(KernelError, match=f"expected kernel ABI {ABI_VERSION}, found {ABI_VERSION + 1}"):
        AotLibrary(LEVEL, newer)
    assert str(newer) not in Path("/proc/self/maps").read_text()


def test_a_library_of_another_level_is_refused_whatever_its_name(tmp_path: Path) -> None:
    renamed = tmp_path / library_name(LEVEL)
    build_library(WIDER, tmp_path, ["fill_row"], objects=jit.cache_folder(CACHE, WIDER)).rename(renamed)
    with pytest.raises(KernelError, match=f"expected kernels of {LEVEL.name}, found kernels of {WIDER.name}"):
        AotLibrary(LEVEL, renamed)
    assert str(renamed) not in Path("/proc/self/maps").read_text()


def test_a_library_that_lacks_a_kernel(link: Link) -> None:
    library = AotLibrary(LEVEL, link(*SOUND))
    library.prepare(["fill_row"])
    assert all(library.engine(symbol) for symbol in ENGINE_SYMBOLS)
    with pytest.raises(KernelError, match=r"lacks edgert_k_unary_f32; build it again"):
        library.prepare(["fill_row", "unary_f32"])


def test_a_library_without_the_engine_is_foreign(link: Link) -> None:
    with pytest.raises(KernelError, match="not an edgert kernel library"):
        AotLibrary(LEVEL, link(*SOUND, names=("fill_row",)))


def test_a_library_of_another_processor_is_refused(tmp_path: Path) -> None:
    foreign = LEVELS["armv8.2-dotprod" if LEVEL.arch == "x86_64" else "x86-64-v3"]
    with pytest.raises(KernelError, match=f"expected a library for {LEVEL.arch}, found one for {foreign.arch}"):
        AotLibrary(LEVEL, shared_library(foreign))


def test_sessions_take_the_next_library_and_say_so(
    default_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The widest level has no library, or a damaged one; the model runs at the plainest, and its first line tells."""
    model = read_model(default_model("f32"))
    plan = make_plan(infer_types(model.graph, {"N": 1}), model.tensors, level=LEVEL, threads=1)
    path = build_library(LEVEL, tmp_path, plan.program.kernels, objects=jit.cache_folder(CACHE, LEVEL))
    monkeypatch.setenv("EDGERT_KERNEL_FOLDER", str(tmp_path))
    monkeypatch.setattr("edgert.kernels_cpu.installed.host_levels", lambda: (LEVEL, WIDER))
    for damaged in (False, True):
        with edgert.load(default_model("f32"), shapes={"N": 1}, threads=1) as session:
            assert (session.kernels, session.level) == ("AOT", LEVEL)
            assert ("refused, see `edgert doctor`" in session.summary()) == damaged
        (tmp_path / library_name(WIDER)).write_bytes(path.read_bytes())


def test_no_library_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERT_KERNELS", "aot")
    monkeypatch.setenv("EDGERT_KERNEL_FOLDER", str(tmp_path))
    with pytest.raises(KernelError, match=f"has no library of {LEVEL.name}"):
        open_library(LEVEL, tmp_path)


def test_an_unknown_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERT_KERNELS", "llvm")
    with pytest.raises(KernelError, match="expected jit, aot or auto"):
        open_library(LEVEL, tmp_path)


FOREIGN = [level for level in LEVELS.values() if level not in host_levels()]


@pytest.mark.parametrize("level", FOREIGN, ids=lambda level: level.name)
def test_a_level_this_machine_lacks_is_an_error_and_no_crash(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERT_ISA", level.name)
    with pytest.raises(KernelError, match=f"EDGERT_ISA={level.name}"):
        active_level()


def test_the_command_line_says_so_too(default_model: Callable[[str], Path], monkeypatch, capsys) -> None:
    from edgert.cli.main import main
    from edgert.models import fashion_mnist_samples

    monkeypatch.setenv("EDGERT_ISA", FOREIGN[-1].name)
    assert main(["run", str(default_model("f32")), str(fashion_mnist_samples()[0][0])]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: EDGERT_ISA={FOREIGN[-1].name}")
    assert captured.err.count("\n") == 1


def test_a_name_that_is_no_kernel(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="no_such_kernel"):
        build_library(LEVEL, tmp_path, ["no_such_kernel"])
    assert list(tmp_path.iterdir()) == []
