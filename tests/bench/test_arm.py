"""What the ARM benchmarks read: the counting plugin's file, blocks of code, llvm-mca's answers; what they predict."""

from __future__ import annotations

import pytest

from bench.arm import count, emulate, mca, predict

CODE = {
    0x100: "mov\tx0, #0x4", 0x104: "ldr\tq0, [x1], #0x10", 0x108: "sdot\tv1.4s, v2.16b, v0.4b[0]",
    0x10C: "subs\tx0, x0, #0x1", 0x110: "b.ne\t0x104 <edgert_k_f+0x4>", 0x114: "ret",
}  # fmt: skip


def test_blocks_of_the_plugin_are_added_up() -> None:
    total, blocks = emulate.read_blocks("insns 42\n104 4 3\n200 2 5\n104 4 2\n")
    assert total == 42
    assert blocks == {(0x104, 4): 5, (0x200, 2): 5}


def test_hot_code_is_found_in_overlapping_blocks() -> None:
    blocks = {(0x100, 5): 1, (0x104, 4): 9, (0x114, 1): 1, (0x900, 3): 50}
    hottest, *_ = mca.hot_blocks(
        blocks, {**CODE, **dict.fromkeys(range(0x900, 0x90C, 4), "nop")}, [(0x100, 0x118, "f")]
    )
    assert (hottest.kernel, hottest.address, hottest.executions, len(hottest.text)) == ("f", 0x104, 10, 4)
    assert hottest.loop
    assert mca.assembly(hottest.text).splitlines()[-1] == "b.ne\t.Lblock"


@pytest.mark.parametrize(
    ("pressure", "cycles", "uops", "bound"),
    [(9.9, 10, 20, "port UnitV"), (5, 10, 29, "front end"), (5, 10, 10, "latency")],
)
def test_what_bounds_a_block(pressure: float, cycles: int, uops: int, bound: str) -> None:
    answer = {
        "TargetInfo": {"Resources": ["UnitL.\0", "UnitV"]},
        "CodeRegions": [{
            "Instructions": ["a", "b"],
            "SummaryView": {
                "TotalCycles": 100 * cycles, "TotaluOps": 100 * uops, "Iterations": 100, "DispatchWidth": 3,
            },
            "ResourcePressureView": {"ResourcePressureInfo": [
                {"InstructionIndex": 0, "ResourceIndex": 0, "ResourceUsage": 99},
                {"InstructionIndex": 2, "ResourceIndex": 0, "ResourceUsage": 1},
                {"InstructionIndex": 2, "ResourceIndex": 1, "ResourceUsage": pressure},
            ]},
        }],
    }  # fmt: skip
    assert mca.read_cycles(answer) == mca.Cycles(cycles, uops, bound)


def test_predictions_take_the_slower_of_computing_and_reading() -> None:
    board = predict.Board("b", "cortex-a76", "armv8.2-dotprod", 2.0, 4.0)
    assert predict.milliseconds(40e6, 8e6, board, 1) == (20.0, "compute")
    assert predict.milliseconds(4e6, 8e6, board, 4) == (2.0, "memory")


def test_every_processor_has_a_level() -> None:
    assert {cpu: level for level, cpus in mca.PROCESSORS.items() for cpu in cpus}.items() >= {
        (cpu, count.LEVEL_OF[cpu]) for cpu in ("cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76")
    }
