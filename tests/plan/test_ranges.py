"""Sets of bytes against sets of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgert.plan.ranges import Ranges, common, size, united, without

PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6)


def numbers(ranges: Ranges) -> set[int]:
    return {n for start, stop in ranges for n in range(start, stop)}


@given(PAIRS, PAIRS)
def test_sets(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    one, two = united(a), united(b)
    assert numbers(one) == numbers(tuple(a))
    assert numbers(united(a, b)) == numbers(one) | numbers(two)
    assert numbers(common(one, two)) == numbers(one) & numbers(two)
    assert numbers(without(one, two)) == numbers(one) - numbers(two)
    for made in (one, common(one, two), without(one, two)):
        assert size(made) == len(numbers(made))
        flat = [n for pair in made for n in pair]
        assert flat == sorted(set(flat)), "sorted, disjoint, and no two that touch"
