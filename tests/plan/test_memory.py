"""The arena: blocks alive together never overlap, whatever the lifetimes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgert.plan.memory import ALIGNMENT, READ_AROUND, Block, arrange, round_up

BLOCKS = st.lists(
    st.builds(
        lambda nbytes, first, length: Block(nbytes, first, first + length),
        st.integers(0, 5000), st.integers(0, 20), st.integers(0, 20),
    ),
    max_size=40,
)  # fmt: skip


@given(BLOCKS)
def test_blocks_alive_together_do_not_overlap(blocks: list[Block]) -> None:
    found = arrange(blocks)
    for i, a in enumerate(blocks):
        assert found.offsets[i] % ALIGNMENT == 0
        assert found.offsets[i] >= READ_AROUND
        assert found.offsets[i] + round_up(a.nbytes) + READ_AROUND <= found.nbytes
        for j, b in enumerate(blocks[:i]):
            if a.first <= b.last and b.first <= a.last:
                apart = (
                    found.offsets[i] + a.nbytes <= found.offsets[j] or found.offsets[j] + b.nbytes <= found.offsets[i]
                )
                assert apart, (i, j)


@given(BLOCKS)
def test_the_arena_is_between_the_bound_and_the_sum(blocks: list[Block]) -> None:
    found = arrange(blocks)
    assert found.bound <= found.nbytes
    assert found.nbytes <= sum(round_up(b.nbytes) for b in blocks) + 2 * READ_AROUND


def test_a_chain_needs_two_buffers() -> None:
    chain = [Block(1024, i, i + 1) for i in range(10)]
    assert arrange(chain).nbytes == 2048 + 2 * READ_AROUND


def test_a_hole_is_filled_by_what_fits_it_best() -> None:
    blocks = [Block(640, 0, 9), Block(64, 0, 1), Block(128, 0, 1), Block(64, 5, 9), Block(128, 5, 9)]
    assert arrange(blocks).nbytes == 640 + 64 + 128 + 2 * READ_AROUND
