"""What a kernel library must be as an ELF file, on libraries of 32 and 64 bits and on ones that were spoilt."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest
from harness import CACHE

from edgert.kernels_cpu import jit
from edgert.kernels_cpu.aot import EMULATIONS, build_library
from edgert.kernels_cpu.aot_elf import PAGE_BYTES, check_elf
from edgert.kernels_cpu.elf import read_elf
from edgert.kernels_cpu.levels import LEVELS, Level

NAMES = ("fill_row",)
LAYOUT = {64: (32, "<Q", 54, 60), 32: (28, "<I", 42, 48)}
"""Bits -> where the header has the table of segments, its form, their size and number, and the section headers."""


@pytest.fixture(scope="module", params=["x86-64", "armv8-a", "armv7-neon"])
def level(request: pytest.FixtureRequest) -> Level:
    return LEVELS[request.param]


@pytest.fixture(scope="module")
def library(level: Level, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound library of one kernel."""
    objects = jit.cache_folder(CACHE, level)
    return build_library(level, tmp_path_factory.mktemp(level.name), NAMES, objects=objects).read_bytes()


def retagged(data: bytes, tag: int, other: int) -> bytes:
    """The library with a tag of its dynamic section replaced."""
    elf = read_elf(data)
    word = "<Q" if elf.bits == 64 else "<I"
    (section,) = (segment for segment in elf.segments if segment.kind == 2)
    step = 2 * struct.calcsize(word)
    changed = bytearray(data)
    for at in range(section.offset, section.offset + section.in_file, step):
        if struct.unpack_from(word, data, at)[0] == tag:
            struct.pack_into(word, changed, at, other)
    assert changed != data
    return bytes(changed)


def recast(data: bytes, kind: int, other: int) -> bytes:
    """The library with a segment's kind replaced."""
    elf = read_elf(data)
    at, form, sizes, _ = LAYOUT[elf.bits]
    (table,), (size, count) = struct.unpack_from(form, data, at), struct.unpack_from("<HH", data, sizes)
    changed = bytearray(data)
    for place in range(table, table + size * count, size):
        if struct.unpack_from("<I", data, place)[0] == kind:
            struct.pack_into("<I", changed, place, other)
    assert changed != data
    return bytes(changed)


def test_a_library_as_it_is_built_has_no_faults(library: bytes, level: Level) -> None:
    assert check_elf(library, level, android=True) == []
    elf = read_elf(library)
    assert elf.arch == level.arch
    assert elf.bits == (32 if level.arch == "armv7" else 64)
    names = {name for name, _, _ in elf.symbols()}
    assert names >= {"edgert_run", "edgert_worker", "edgert_run_single", "edgert_k_fill_row"}
    assert elf.symbol("edgert_sources", 32) == jit.sources_hash(NAMES).encode().ljust(32, b"\0")


@pytest.mark.parametrize(
    ("tag", "other", "fault"),
    [
        (14, 1, "it needs other libraries"),
        (14, 22, "it has text relocations"),
        (14, 12, "it runs code when it is loaded"),
        (14, 25, "it runs code when it is loaded"),
        (14, 23, "it has calls for the loader to resolve"),
        (14, 36, "it has packed relocations, which old loaders ignore"),
        (14, 99, "it has no name of its own (DT_SONAME)"),
        (4, 99, "it has no table of symbols with a DT_HASH"),
        (0x6FFFFEF5, 99, "it has no table of symbols with a DT_GNU_HASH"),
    ],
)
def test_faults_of_the_dynamic_section(library: bytes, tag: int, other: int, fault: str) -> None:
    assert fault in check_elf(retagged(library, tag, other), android=True)


@pytest.mark.parametrize(
    ("kind", "other", "fault"),
    [
        (0x6474E551, 3, "it asks for an interpreter, as programs do"),
        (0x6474E551, 7, "it has thread-local variables"),
        (0x6474E551, 0, "it does not say that the stack is not executable"),
    ],
)
def test_faults_of_segments(library: bytes, kind: int, other: int, fault: str) -> None:
    assert fault in check_elf(recast(library, kind, other))


def test_android_reads_section_headers(library: bytes) -> None:
    changed = bytearray(library)
    struct.pack_into("<HH", changed, LAYOUT[read_elf(library).bits][3], 0, 0)
    assert check_elf(bytes(changed)) == []
    assert check_elf(bytes(changed), android=True) == ["it has no section headers, which Android's loader reads"]


def test_a_library_of_another_level(library: bytes, level: Level) -> None:
    for other in LEVELS.values():
        problems = check_elf(library, other)
        if other == level:
            assert problems == []
        elif other.arch == level.arch:
            assert problems == [f"it was made for {level.name}, expected {other.name}"]
        else:
            assert problems == [f"it is for {level.arch}; expected {other.arch}"]


def test_every_cut_is_a_sentence_and_no_crash(library: bytes, level: Level) -> None:
    for length in (0, 3, 16, 40, 63, 200, len(library) // 2):
        assert len(check_elf(library[:length], level, android=True)) == 1


def linked(level: Level, text: str, folder: Path, *flags: str) -> bytes:
    """A library of an LLVM module."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(level.triple).create_target_machine(
        cpu=level.cpu, features=level.llvm_features, reloc="pic"
    )
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = level.triple, str(machine.target_data)
    (folder / "odd.o").write_bytes(machine.emit_object(module))
    command = ["ld.lld", "-m", EMULATIONS[level.arch], "-shared", "-z", f"max-page-size={PAGE_BYTES}", "-o", "odd.so"]
    subprocess.run(
        [sys.executable, "-m", "ziglang", *command, *flags, "odd.o"], cwd=folder, check=True, timeout=60,
        capture_output=True,
    )  # fmt: skip
    return (folder / "odd.so").read_bytes()


def test_a_call_out_of_the_library(level: Level, tmp_path: Path) -> None:
    problems = check_elf(linked(level, "declare void @puts()\ndefine void @edgert_f() { call void @puts() ret void }",
                                tmp_path, "--hash-style=both"))  # fmt: skip
    assert "undefined symbol puts" in problems
    assert any(problem.startswith(("it has calls for the loader", "it has relocations")) for problem in problems)


def test_a_reference_out_of_the_library(level: Level, tmp_path: Path) -> None:
    text = "@errno = external global i32\n@edgert_p = global ptr @errno"
    problems = check_elf(linked(level, text, tmp_path, "--hash-style=both"))
    assert "undefined symbol errno" in problems
    assert any(problem.startswith("it has relocations of type ") for problem in problems)


def test_code_that_has_to_be_relocated(level: Level, tmp_path: Path) -> None:
    text = '@edgert_p = constant ptr @edgert_f, section ".text"\ndefine void @edgert_f() { ret void }'
    problems = check_elf(linked(level, text, tmp_path, "--hash-style=both", "-z", "notext", "-Bsymbolic"))
    assert "it has text relocations" in problems


def test_one_hash_style_is_not_enough(level: Level, tmp_path: Path) -> None:
    text = "define void @edgert_f() { ret void }"
    assert "it has no table of symbols with a DT_HASH" in check_elf(linked(level, text, tmp_path, "--hash-style=gnu"))
    assert "it has no table of symbols with a DT_GNU_HASH" in check_elf(
        linked(level, text, tmp_path, "--hash-style=sysv")
    )
