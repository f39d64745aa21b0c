"""One budget for several: everybody has its least, the others trim for who comes, and who does not fit is told why."""

from __future__ import annotations

import gc
import threading

import pytest

from edgert.errors import InputError, MemoryBudgetError
from edgert.runtime.shared_ram import Share, SharedRam


class Holder:
    """A session that does as it is told, and takes what it gets."""

    def __init__(self, shared: SharedRam, name: str, least: int, wanted: int) -> None:
        self.told: list[int] = []
        self.share: Share = shared.join(self, name, least, wanted)

    def trim(self, ram: int) -> int:
        self.told.append(ram)
        return ram


def test_the_first_takes_what_it_can_use_and_trims_for_the_second() -> None:
    shared = SharedRam(1000)
    a = Holder(shared, "a", 100, 900)
    assert a.share.nbytes == 900
    b = Holder(shared, "b", 200, 600)
    # 700 are left, for 800 + 400 that could be used: each has 7/12 of what it wants.
    assert a.told == [a.share.nbytes] == [100 + 700 * 800 // 1200]
    assert b.share.nbytes == 1000 - a.share.nbytes >= 200 + 700 * 400 // 1200
    assert shared.shares == {"a": a.share.nbytes, "b": b.share.nbytes}


def test_who_does_not_fit_is_told_what_is_held_by_whom() -> None:
    shared = SharedRam(1000)
    a, b = Holder(shared, "a", 400, 800), Holder(shared, "b", 400, 400)
    with pytest.raises(
        MemoryBudgetError, match=r"c, which needs at least 300 B.*a 600 B, at least 400 B; b 400 B.*1100"
    ):
        Holder(shared, "c", 300, 300)
    assert a.told == [600] and b.told == [] and set(shared.shares) == {"a", "b"}


def test_nobody_trims_where_there_is_room() -> None:
    shared = SharedRam("1K")
    a, b = Holder(shared, "a", 100, 500), Holder(shared, "b", 100, 500)
    assert (a.share.nbytes, b.share.nbytes) == (500, 500) and not a.told


def test_what_is_left_behind_is_for_those_that_come() -> None:
    """By leaving, and by being forgotten."""
    shared = SharedRam(1000)
    a, b = Holder(shared, "a", 400, 400), Holder(shared, "b", 600, 600)
    a.share.leave()
    a.share.leave()
    assert shared.shares == {"b": 600}
    assert Holder(shared, "c", 400, 400).share.nbytes == 400
    gc.collect()
    assert shared.shares == {"b": 600}
    del b
    gc.collect()
    assert shared.shares == {}


def test_one_of_the_others_that_can_not_trim_keeps_the_new_one_out() -> None:
    class Stubborn(Holder):
        def trim(self, ram: int) -> int:
            raise InputError("no")

    shared = SharedRam(1000)
    a = Stubborn(shared, "a", 100, 1000)
    with pytest.raises(InputError):
        Holder(shared, "b", 100, 100)
    assert shared.shares == {"a": a.share.nbytes} == {"a": 1000}


def test_promises_stay_within_the_budget_when_many_come_at_once() -> None:
    shared = SharedRam(10_000)
    holders: list[Holder] = []

    def come(index: int) -> None:
        holders.append(Holder(shared, str(index), 100 + index, 5000))

    threads = [threading.Thread(target=come, args=(index,)) for index in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(holders) == 16 and sum(shared.shares.values()) <= 10_000
    assert all(holder.share.nbytes >= holder.share.least for holder in holders)


def test_sizes_that_are_none() -> None:
    with pytest.raises(InputError):
        SharedRam("much")
