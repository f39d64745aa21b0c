"""Which library a process takes: nothing is loaded unverified, each level passed over says why, JIT comes last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from elf_image import image

from edgert.errors import KernelError
from edgert.kernels_cpu import installed
from edgert.kernels_cpu.abi import ABI_VERSION
from edgert.kernels_cpu.elf import read_elf
from edgert.kernels_cpu.installed import choose, chosen, library_name, read_manifest, survey, verify
from edgert.kernels_cpu.jit import sources_hash
from edgert.kernels_cpu.levels import LEVELS, Level
from edgert.kernels_cpu.registry import kernels

PLAIN, V3, V4 = HOST = tuple(LEVELS[name] for name in ("x86-64", "x86-64-v3", "x86-64-v4-vnni"))
ARM = LEVELS["armv8-a"]
ARM32 = replace(ARM, name="armv7-neon", arch="armv7")
Folder = Callable[..., Path]


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that runs three levels, whatever runs the tests; and no library loaded before."""
    for name, value in (("host_levels", HOST), ("host_arch", "x86_64"), ("host_flags", V4.needs)):
        monkeypatch.setattr(installed, name, lambda value=value: value)
    for name in ("EDGERT_KERNELS", "EDGERT_KERNEL_FOLDER", "EDGERT_ISA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """folder({level: bytes}): libraries and their manifest; `manifest=False` leaves that out."""

    def make(files: dict[Level, bytes], *, manifest: bool = True) -> Path:
        rows = []
        for level, data in files.items():
            (tmp_path / library_name(level)).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            rows.append({"file": library_name(level), "level": level.name, "bytes": len(data), "sha256": digest})
        if manifest:
            written = {"version": 1, "abi": ABI_VERSION, "sources": "", "libraries": rows}
            (tmp_path / "manifest.json").write_text(json.dumps(written))
        return tmp_path

    return make


def no_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_numba_is_installed", lambda: False)


# ---- one file
@pytest.mark.parametrize("level", [V3, ARM, ARM32], ids=lambda level: level.name)
def test_a_sound_library(level: Level, folder: Folder) -> None:
    path = folder({level: image(level)}) / library_name(level)
    assert verify(path, level, read_manifest(path.parent)) == "verified by its SHA-256"
    assert verify(path, level, None).startswith("unverified")


WRONG = {
    "of another architecture": (image(ARM), "expected a library for x86_64, found one for aarch64"),
    "of 32 bits": (image(ARM32), "expected a library for x86_64, found one for armv7"),
    "of another processor": (image(V3)[:18] + b"\xf3" + image(V3)[19:], "found one for ELF machine 243 with 64 bits"),
    "of another ABI": (image(V3, abi=ABI_VERSION + 7), f"expected kernel ABI {ABI_VERSION}, found {ABI_VERSION + 7}"),
    "renamed": (image(V4), "expected kernels of x86-64-v3, found kernels of x86-64-v4-vnni"),
    "without a level": (image(V3, without="edgert_level"), "has no edgert_level"),
    "foreign": (image(V3, without="edgert_abi_version"), "not an edgert kernel library"),
    "no library": (b"#!/bin/sh\n" * 10, "expected an ELF library, found a file that begins with b'#!/b'"),
    "empty": (b"", "expected an ELF library"),
    "a header alone": (image(V3)[:64], "cut off"),
    "big-endian": (image(V3)[:5] + b"\2" + image(V3)[6:], "little-endian"),
    "a program": (image(V3)[:16] + b"\2" + image(V3)[17:], "expected a shared library"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("listed", [True, False], ids=["listed", "unlisted"])
def test_what_is_refused(wrong: str, listed: bool, folder: Folder) -> None:
    data, why = WRONG[wrong]
    path = folder({V3: data}, manifest=listed) / library_name(V3)
    with pytest.raises(KernelError) as caught:
        verify(path, V3, read_manifest(path.parent))
    assert str(caught.value).startswith(f"{path.name}: ")
    assert why in str(caught.value)
    assert str(caught.value).endswith("install edgert again, or build it with `edgert compile`")


def test_a_flipped_byte_is_found_wherever_it_is(folder: Folder) -> None:
    sound = image(V3, payload=bytes(100))
    path = folder({V3: sound}) / library_name(V3)
    entries = read_manifest(path.parent)
    for place in range(len(sound)):
        path.write_bytes(sound[:place] + bytes((sound[place] ^ 16,)) + sound[place + 1 :])
        with pytest.raises(KernelError, match=path.name):
            verify(path, V3, entries)
    path.write_bytes(sound[:-1] + b"x")
    with pytest.raises(KernelError, match=r"is damaged: expected SHA-256 \w{16}…, found \w{16}…"):
        verify(path, V3, entries)


def test_a_file_cut_off_anywhere_is_found(folder: Folder) -> None:
    sound = image(V3, payload=bytes(50))
    path = folder({V3: sound}) / library_name(V3)
    entries = read_manifest(path.parent)
    for size in range(len(sound)):
        for known in (entries, None):
            path.write_bytes(sound[:size])
            with pytest.raises(KernelError, match=r"cut off|expected an ELF library"):
                verify(path, V3, known)
    path.write_bytes(sound + b"\0")
    with pytest.raises(KernelError, match=rf"is damaged: expected {len(sound)} bytes, found {len(sound) + 1}"):
        verify(path, V3, entries)


def test_damaged_tables_are_errors_and_no_crash(rng: np.random.Generator) -> None:
    for level in (V3, ARM32):
        sound = np.frombuffer(image(level), np.uint8)
        for _ in range(500):
            data = sound.copy()
            data[rng.integers(4, len(data), 3)] = rng.integers(0, 256, 3)
            try:
                elf = read_elf(data.tobytes())
                found = [elf.symbol("edgert_abi_version", 8), elf.symbol("edgert_level", 32)]
                assert all(value is None or len(value) in (8, 32) for value in found)
            except KernelError:
                pass


def test_a_file_the_manifest_does_not_know(folder: Folder) -> None:
    path = folder({V3: image(V3)}) / library_name(V4)
    path.write_bytes(image(V4))
    with pytest.raises(
        KernelError, match=r"expected it in the manifest\.json beside it, found libedgert_x86-64-v3\.so"
    ):
        verify(path, V4, read_manifest(path.parent))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"version": 1}', "is damaged"),
        ('{"version": 1, "libraries": [{"file": "x"}]}', "is damaged"),
        ('{"version": 1, "libraries": 3}', "is damaged"),
        ('{"version": 9}', "expected version 1, found 9"),
        ("\xff", "is damaged"),
        ("[" * 100_000, "is damaged"),
    ],
)
def test_a_manifest_that_makes_no_sense(text: str, why: str, folder: Folder) -> None:
    path = folder({V3: image(V3)})
    (path / "manifest.json").write_text(text)
    with pytest.raises(KernelError, match=why):
        read_manifest(path)
    assert choose((V3,), path, "aot").skipped[0].state == "refused"


# ---- the choice
def states(findings: Iterable[installed.Finding]) -> list[tuple[str, str]]:
    return [(found.level.name, found.state) for found in findings]


def test_the_widest_level_with_a_library(folder: Folder) -> None:
    path = folder({level: image(level) for level in HOST})
    choice = choose(HOST, path, "auto")
    assert (choice.level, choice.origin, choice.path) == (V4, "AOT", path / library_name(V4))
    assert choice.skipped == ()
    assert "verified" in choice.why


def test_levels_passed_over_say_why(folder: Folder) -> None:
    path = folder({V4: image(V4, abi=99), PLAIN: image(PLAIN)})
    choice = choose(HOST, path, "auto")
    assert (choice.level, choice.origin) == (PLAIN, "AOT")
    assert states(choice.skipped) == [(V4.name, "refused"), (V3.name, "absent")]
    assert "found 99" in choice.skipped[0].reason
    assert "has no libedgert_x86-64-v3.so" in choice.skipped[1].reason


def test_a_library_that_was_renamed_is_passed_over(folder: Folder) -> None:
    """Its instructions would end the process."""
    choice = choose((PLAIN,), folder({PLAIN: image(V4)}), "aot")
    assert choice.origin == ""
    assert "x86-64: libedgert_x86-64.so: expected kernels of x86-64, found kernels of x86-64-v4-vnni" in choice.why


def test_jit_where_no_library_fits_and_numba_is_there(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder({V4: image(V3)})
    monkeypatch.setattr(installed, "_numba_is_installed", lambda: True)
    choice = choose(HOST, path, "auto")
    assert (choice.level, choice.origin, choice.path) == (V4, "JIT", None)
    assert choice.why == "no ahead-of-time library fits; Numba compiles on first use"
    assert choose(HOST, path, "aot").origin == ""
    no_numba(monkeypatch)
    choice = choose(HOST, path, "auto")
    assert choice.origin == ""
    assert "x86-64-v4-vnni: libedgert_x86-64-v4-vnni.so: expected kernels of" in choice.why
    assert choice.why.endswith("or compile kernels here: pip install 'edgert[jit]'")


def test_jit_when_asked(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERT_KERNEL_FOLDER", str(folder({V4: image(V4)})))
    assert chosen().origin == "AOT"
    monkeypatch.setenv("EDGERT_KERNELS", "jit")
    choice = chosen()
    assert (choice.level, choice.origin, choice.skipped) == (V4, "JIT", ())
    monkeypatch.setenv("EDGERT_KERNELS", "llvm")
    with pytest.raises(KernelError, match="EDGERT_KERNELS='llvm': expected jit, aot or auto"):
        chosen()


def test_a_level_that_does_not_run_here_is_never_taken(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    amx = LEVELS["x86-64-amx"]
    path = folder({ARM: image(ARM), amx: image(amx)})
    for mode in ("auto", "aot", "jit"):
        assert "needs a processor of aarch64" in choose((ARM,), path, mode).why
        assert "this processor lacks amx_int8, amx_tile" in choose((amx,), path, mode).why
        assert choose((amx,), path, mode).origin == ""


def test_libraries_of_another_machine(folder: Folder) -> None:
    path = folder({ARM: image(ARM), PLAIN: image(V4)})
    why = choose((PLAIN, V3, V4), path, "aot").why
    assert why.startswith("no ahead-of-time library fits: x86-64: libedgert_x86-64.so: expected kernels of x86-64,")
    assert why.endswith(f"; {path} has no library of x86-64-v4-vnni, x86-64-v3, but of armv8-a, x86-64")


def test_edgert_isa_means_that_level_alone(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGERT_KERNEL_FOLDER", str(folder({V4: image(V4), V3: image(V3)})))
    monkeypatch.setattr(installed, "active_level", lambda: V3)
    monkeypatch.setenv("EDGERT_ISA", V3.name)
    assert chosen().level == V3
    monkeypatch.setattr(installed, "active_level", lambda: PLAIN)
    no_numba(monkeypatch)
    assert (chosen().level, chosen().origin) == (PLAIN, "")


def test_an_installation_must_have_its_manifest(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder({V4: image(V4)}, manifest=False)
    with monkeypatch.context() as patch:
        patch.setattr(installed, "AOT_FOLDER", path)
        assert "has no manifest.json, which every installation has" in choose(HOST, path, "aot").why
    assert "unverified" in choose(HOST, path, "aot").why


def test_in_a_checkout_a_library_of_other_sources_is_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that were edited since are compiled instead."""
    monkeypatch.setattr(installed, "_in_checkout", lambda: True)
    monkeypatch.setattr(installed, "_numba_is_installed", lambda: True)
    for sources, origin in (("0123456789abcdef", "JIT"), ("", "JIT"), (sources_hash(kernels()), "AOT")):
        path = folder({V4: image(V4, sources=sources, payload=bytes(len(sources)))})
        monkeypatch.setattr(installed, "AOT_FOLDER", path)
        choice = choose((V4,), path, "auto")
        assert choice.origin == origin
        assert all(f"found one of {sources or 'unknown sources'}; build" in s.reason for s in choice.skipped)


def test_a_library_exchanged_while_the_process_lives_is_verified_again(folder: Folder) -> None:
    path = folder({V4: image(V4)})
    assert choose((V4,), path, "aot").origin == "AOT"
    folder({V4: image(V4, abi=50, payload=b"x")})
    assert "found 50" in choose((V4,), path, "aot").why


def test_a_survey_names_every_library(folder: Folder) -> None:
    path = folder({V3: image(V3), ARM: image(ARM), V4: image(PLAIN)})
    found = dict(states(survey(path)))
    assert found[V3.name] == "usable"
    assert found[V4.name] == "refused"
    assert found[PLAIN.name] == "absent"
    assert found["x86-64-amx"] == found[ARM.name] == "unfit"
