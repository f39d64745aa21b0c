"""Programs: bytes and back, addresses, and every way a bad one is caught before it runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgert.errors import KernelError
from edgert.kernels_cpu.levels import LEVELS
from edgert.kernels_cpu.registry import kernels, record_fields
from edgert.program import Op, Operand, Program, Segment, assemble, disassemble, link, verify
from edgert.program.assembler import aligned_bytes, tagged, untag

LEVEL = LEVELS["x86-64-v3"]
KERNEL = "fill_row"
SEGMENTS = (Segment("arena", 4096), Segment("constants", 128), Segment("weights:w.data", 256))


def op(**changes: object) -> Op:
    return replace(Op(KERNEL, {"y": Operand(0, 64, 128)}, {"nbytes": 128, "pattern": 7}, 1, 0, "n"), **changes)  # type: ignore[arg-type]


def program(*ops: Op) -> Program:
    return Program(ops, SEGMENTS)


def test_a_good_program_passes() -> None:
    verify(program(op(), op(chunks=0), op(operands={"y": None})), LEVEL)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (op(kernel="conv9d"), "no such kernel"),
        (op(operands={}), "expected operands"),
        (op(params={"nbytes": 1}), "expected params"),
        (op(operands={"y": Operand(0, 4000, 128)}), "reaches bytes 4000..4128 of arena"),
        (op(operands={"y": Operand(0, -64, 128)}), "reaches bytes -64"),
        (op(operands={"y": Operand(0, 64, -1)}), "reaches bytes"),
        (op(operands={"y": Operand(3, 0, 1)}), "segment 3 of 3"),
        (op(operands={"y": Operand(-1, 0, 1)}), "segment -1"),
        (op(chunks=1 << 20), "chunks"),
        (op(chunks=-1), "chunks"),
        (op(scratch=-64), "scratch"),
        (op(params={"nbytes": 1 << 31, "pattern": 0}), "param nbytes"),
        (op(params={"nbytes": 1, "pattern": float("nan")}), "param pattern"),
    ],
)
def test_bad_ops_are_caught(bad: Op, message: str) -> None:
    with pytest.raises(KernelError, match=message) as caught:
        verify(program(op(), bad), LEVEL)
    assert "op 1" in str(caught.value)
    assert "'n'" in str(caught.value)


def test_kernels_of_other_levels_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    table = dict(kernels())
    table[KERNEL] = replace(table[KERNEL], needs="amx")
    monkeypatch.setattr("edgert.program.verifier.kernels", lambda: table)
    with pytest.raises(KernelError, match="needs amx"):
        verify(program(op()), LEVEL)


def test_segments_are_limited() -> None:
    with pytest.raises(KernelError, match="segments"):
        verify(Program((), (Segment("s", 1),) * 40000), LEVEL)
    with pytest.raises(KernelError, match="has -1 bytes"):
        verify(Program((), (Segment("s", -1),)), LEVEL)


@pytest.mark.parametrize("operand", [Operand(0, 0, 1), Operand(5, 123456789, 1), Operand(32765, (1 << 48) - 1, 0)])
def test_tags_keep_segment_and_offset(operand: Operand) -> None:
    assert untag(tagged(operand)) == (operand.segment, operand.offset)
    assert 0 < tagged(operand) < 1 << 63


def test_null_stays_null() -> None:
    assert tagged(None) == 0
    assert untag(0) is None
    linked = link(assemble(program(op(operands={"y": None}))), [1000, 2000, 3000])
    assert not linked[0, 8:72].any()


def test_linking_adds_the_bases() -> None:
    ops = [op(), op(operands={"y": Operand(1, 0, 64)}), op(operands={"y": Operand(2, 32, 64)})]
    linked = link(assemble(program(*ops)), [1 << 40, 2000, 3000])
    assert linked.ctypes.data % 64 == 0
    place = record_fields(KERNEL).y
    found = linked[:, place : place + 8].copy().view(np.int64).ravel()
    assert found.tolist() == [(1 << 40) + 64, 2000, 3032]


def test_malformed_ops_do_not_assemble() -> None:
    with pytest.raises(KernelError, match="op 0 for node 'n'"):
        assemble(program(op(params={"nbytes": 1 << 40, "pattern": 0})))
    with pytest.raises(KernelError, match="cannot be assembled"):
        assemble(program(op(kernel="nothing")))


def test_disassembly_names_everything() -> None:
    p = program(op(), op(operands={"y": Operand(2, 32, 64)}, node="other"))
    lines = list(disassemble(p, assemble(p)))
    assert lines[0].split() == ["0", "fill_row", "x1", "y=arena+0x40", "nbytes=128", "pattern=7", ";", "n"]
    assert "weights:w.data+0x20" in lines[1]
    assert lines[1].endswith("; other")


def test_scratch_is_whole_cache_lines() -> None:
    assert program(op(scratch=1), op(scratch=65)).scratch == 128
    assert program().scratch == 0
    assert program(op(), op()).kernels == (KERNEL,)


def test_aligned_bytes() -> None:
    for nbytes in (0, 1, 63, 64, 1000):
        memory = aligned_bytes(nbytes)
        assert memory.nbytes == nbytes
        assert memory.ctypes.data % 64 == 0 or nbytes == 0
        assert not memory.any()
