"""What Android's linker asks of a kernel library, and that one loaded by its rules answers where there is no libc."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from bionic import GNU_HASH, HASH, LOAD, RELRO, SHADOW_STACK, AndroidProcess
from emulator import BASE, PAGE
from harness import ARM_LEVELS, shared_library
from unicorn import UcError
from unicorn.arm64_const import UC_ARM64_REG_X18

from edgert.kernels_cpu.abi import ABI_VERSION
from edgert.kernels_cpu.aot_elf import check_elf
from edgert.kernels_cpu.elf import Elf, read_elf
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.registry import kernels, opcodes
from edgert.program import Op, Operand, Program, Segment, assemble, link

DYNAMIC, TLS, GNU_STACK = 2, 7, 0x6474E551
NEEDED, SONAME, TEXTREL, FLAGS, RELR, ANDROID_RELA = 1, 14, 22, 30, 36, 0x60000011
FLAG_TEXTREL = 4
FILLED = 4096


@pytest.fixture(scope="module", params=ARM_LEVELS, ids=lambda level: level.name)
def level(request: pytest.FixtureRequest) -> Level:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def elf(level: Level) -> Elf:
    """The whole library, as the wheel for Android carries it."""
    return read_elf(shared_library(level).read_bytes())


@pytest.fixture
def process(elf: Elf) -> AndroidProcess:
    return AndroidProcess(elf)


def test_segments_fit_pages_of_16_kib(elf: Elf) -> None:
    """Android 15: the file is mapped as it is, so file and memory agree within a page and no page has two rights."""
    loads = [segment for segment in elf.segments if segment.kind == LOAD]
    taken: set[int] = set()
    for segment in loads:
        assert segment.align % PAGE == 0
        assert (segment.address - segment.offset) % PAGE == 0
        own = set(range(segment.address // PAGE, -(-(segment.address + segment.in_memory) // PAGE)))
        assert not own & taken
        taken |= own
    for segment in elf.segments:
        if segment.kind == RELRO:  # what follows on its last page would be read-only too
            assert (segment.address + segment.in_memory) % PAGE == 0


def test_rights(elf: Elf) -> None:
    """Android 8: nothing is writable and executable at once, the stack included."""
    for segment in elf.segments:
        assert segment.flags & 3 != 3
        assert segment.kind != GNU_STACK or not segment.flags & 1
    assert GNU_STACK in {segment.kind for segment in elf.segments}


def test_dynamic_section(elf: Elf) -> None:
    """No text relocations (Android 6), no other libraries, nothing that older linkers ignore: packed relocations
    (Android 9, 11), thread-local storage (Android 10)."""
    assert not elf.dynamic.keys() & {NEEDED, TEXTREL, RELR, ANDROID_RELA}
    assert not elf.dynamic.get(FLAGS, 0) & FLAG_TEXTREL
    assert elf.dynamic.keys() >= {SONAME, HASH, GNU_HASH}
    assert TLS not in {segment.kind for segment in elf.segments}


def test_section_headers_are_there(elf: Elf) -> None:
    """Android 7: the linker holds the dynamic section against the section headers, so they must not be stripped."""
    (start,) = struct.unpack_from("<Q", elf.data, 40)
    size, count, names = struct.unpack_from("<HHH", elf.data, 58)
    assert size == 64
    assert 0 < names < count
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf.data, start + size * i) for i in range(count)]
    (dynamic,) = [section for section in sections if section[1] == 6]
    (segment,) = [segment for segment in elf.segments if segment.kind == DYNAMIC]
    assert (dynamic[4], dynamic[3]) == (segment.offset, segment.address)
    assert dynamic[5] == segment.in_file
    assert sections[dynamic[6]][1] == 3  # a table of strings


def test_the_build_asks_for_the_same(level: Level, elf: Elf) -> None:
    """What is checked before a library is written agrees with what is checked here, one rule at a time."""
    assert check_elf(elf.data, level, android=True) == []


def test_both_hashes_find_every_symbol(level: Level, process: AndroidProcess) -> None:
    names = [f"edgert_k_{name}" for name, spec in kernels().items() if spec.available(level)]
    for name in ["edgert_run", "edgert_run_single", "edgert_worker", "edgert_abi_version", *names]:
        address = process.by_hash(name)
        assert address > BASE
        assert process.by_gnu_hash(name) == address
    for foreign in ("memset", "memcpy", "edgert_k_", "edgert_k_none"):
        assert process.by_hash(foreign) == process.by_gnu_hash(foreign) == 0


def test_it_answers_without_a_libc(process: AndroidProcess) -> None:
    """The engine runs a program of one op, its kernel in two chunks; x18 is Android's own and stays as it was."""
    version = process.by_gnu_hash("edgert_abi_version")
    assert struct.unpack("<q", process.pull(version, 8).tobytes()) == (ABI_VERSION,)
    arena = process.push(bytes(FILLED))
    op = Op("fill_row", {"y": Operand(0, 0, FILLED)}, {"nbytes": FILLED, "pattern": 0x01020304}, 2)
    program = process.push(link(assemble(Program((op,), (Segment("arena", FILLED),))), [arena]).tobytes())
    table = np.zeros(len(kernels()) + 1, np.int64)
    table[opcodes()["fill_row"]] = process.by_gnu_hash("edgert_k_fill_row")
    scratch = process.push(bytes(64))
    process.call(process.by_gnu_hash("edgert_run_single"), program, 1, process.push(table.tobytes()), scratch)
    assert (process.pull(arena, FILLED).view(np.uint32) == 0x01020304).all()
    assert process.uc.reg_read(UC_ARM64_REG_X18) == SHADOW_STACK


def test_the_process_is_as_strict_as_android(process: AndroidProcess) -> None:
    """Its own rights are real: code can not be written, and what was written can not be run."""
    code = process.by_gnu_hash("edgert_k_fill_row")
    written = process.push(bytes.fromhex("c0035fd6"))  # ret
    with pytest.raises(UcError, match="UC_ERR_FETCH_PROT"):
        process.call(written)
    store = AndroidProcess(process.elf)
    op = Op("fill_row", {"y": Operand(0, 0, 64)}, {"nbytes": 64, "pattern": 0}, 1)
    program = store.push(link(assemble(Program((op,), (Segment("arena", 64),))), [code & -64]).tobytes())
    with pytest.raises(UcError, match="UC_ERR_WRITE_PROT"):
        store.call(code, program, 0, store.push(bytes(64)))
