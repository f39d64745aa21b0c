"""Sizes as people write them, and a budget that is kept with a message that helps."""

from __future__ import annotations

import pytest

from edgert.errors import InputError, MemoryBudgetError
from edgert.plan.budget import MemoryUse, enforce, parse_bytes, show_bytes


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("512M", 512 << 20),
        ("1.5G", 3 << 29),
        ("64KiB", 65536),
        ("64kb", 65536),
        ("100", 100),
        (4096, 4096),
        (" 2 M ", 2 << 20),
    ],
)
def test_sizes(text: str | int, nbytes: int) -> None:
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["", "M", "-1M", "0", 0, -5, "1T", "12 34", True, "1e3", None, 2.5])
def test_other_sizes_are_refused(text: object) -> None:
    with pytest.raises(InputError, match="512M"):
        parse_bytes(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(("nbytes", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KB"), (3 << 20, "3.0 MB")])
def test_sizes_for_people(nbytes: int, text: str) -> None:
    assert show_bytes(nbytes) == text


def use(arena: int, scratch: int) -> MemoryUse:
    return MemoryUse(arena=arena, constants=0, weights=100, scratch=scratch, records=0, host=0)


def test_within_the_budget_nothing_happens() -> None:
    enforce(use(1000, 0), None)
    enforce(use(1000, 0), 1100)


def test_the_smallest_budget_is_named() -> None:
    with pytest.raises(MemoryBudgetError, match=r"ram=1100 .*1\.1 KB"):
        enforce(use(1000, 0), 1099)


def test_one_thread_is_advised_where_it_fits() -> None:
    with pytest.raises(MemoryBudgetError, match=r"use one thread, which needs 1\.1 KB"):
        enforce(use(1000, 400), 1200, smallest=use(1000, 0), threads=4)
