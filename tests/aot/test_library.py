"""What a kernel library must be, and one clear error for each that is not: foreign, outdated, incomplete, or absent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from harness import CACHE, shared_library

from edgert.errors import KernelError
from edgert.kernels_cpu import jit
from edgert.kernels_cpu.abi import ABI_VERSION
from edgert.kernels_cpu.aot import build_library, check_library
from edgert.kernels_cpu.levels import LEVELS, Level, active_level, host_levels
from edgert.kernels_cpu.library import ENGINE_SYMBOLS, AotLibrary, library_name, open_library

LEVEL = host_levels()[0]
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


def test_another_abi_is_refused(tmp_path: Path, link: Link) -> None:
    path = link(*SOUND)
    data = bytearray(path.read_bytes())
    at = _place_of_abi_version(path)
    assert data[at : at + 8] == ABI_VERSION.to_bytes(8, "little")
    data[at] += 1
    (tmp_path / "newer.so").write_bytes(data)
    with pytest.raises(KernelError, match=f"has kernel ABI {ABI_VERSION + 1}, this edgert needs {ABI_VERSION}"):
        AotLibrary(LEVEL, tmp_path / "newer.so")


def _place_of_abi_version(path: Path) -> int:
    """Where the library's ABI number lies in its file: in read-only data, so at the same offset as in memory."""
    import ctypes

    loaded = ctypes.CDLL(str(path))
    value = ctypes.addressof(ctypes.c_int64.in_dll(loaded, "edgert_abi_version"))
    maps = Path("/proc/self/maps").read_text().splitlines()
    for line in maps:
        span, _, offset, _, _, *name = line.split()
        start, end = (int(word, 16) for word in span.split("-"))
        if name == [str(path)] and start <= value < end:
            return value - start + int(offset, 16)
    raise AssertionError("the library is not mapped")


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
    with pytest.raises(KernelError, match="cannot load the kernel library"):
        AotLibrary(LEVEL, shared_library(foreign))


def test_no_library_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERT_KERNELS", "aot")
    monkeypatch.setenv("EDGERT_KERNEL_FOLDER", str(tmp_path))
    with pytest.raises(KernelError, match=library_name(LEVEL)):
        open_library(LEVEL, tmp_path)


def test_an_unknown_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERT_KERNELS", "llvm")
    with pytest.raises(KernelError, match="expected jit or aot"):
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
