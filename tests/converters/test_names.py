"""Names: too long ones are shortened, and one that is taken a thousand times costs no million tries."""

from __future__ import annotations

from edgert.converters.names import MAX_NAME, Names, shortened


def test_long_names_lose_their_middle() -> None:
    name = "first/" + "é" * 200 + "/last"
    short = shortened(name)
    assert len(short.encode()) <= MAX_NAME and short.startswith("first/") and short.endswith("/last")
    assert shortened("x" * MAX_NAME) == "x" * MAX_NAME


def test_names_are_numbered_past_those_taken() -> None:
    names = Names(["a", "a_1", "a_3"])
    assert [names.fresh("a") for _ in range(3)] == ["a_2", "a_4", "a_5"]
    assert [names.fresh("b"), names.fresh("b"), names.fresh("b_1")] == ["b", "b_1", "b_1_1"]
    assert names.fresh("") == "_1"


def test_one_name_for_all() -> None:
    """Quadratic, this would be twenty billion tries."""
    names = Names()
    assert len({names.fresh("same") for _ in range(200_000)}) == 200_000
