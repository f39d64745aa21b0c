"""What streaming is predicted to cost: bytes, overlap and rates of divisions small enough to reckon by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgert.format.parts import FilePart
from edgert.plan import stream_cost
from edgert.plan.residency import divide
from edgert.plan.stream_cost import GATE_SECONDS, as_json, compare, describe, predict, table
from edgert.stream import store
from edgert.stream.probe import ASSUMED, Storage
from edgert.stream.stages import PAGE, Division

MB = 1 << 20
RATE = 1e9
DISK = Storage({(size, depth): RATE for size in (4096, MB) for depth in (1, 4)}, "measured")
"""The same rate whatever is asked for."""


def parts(count: int, nbytes: int) -> list[FilePart]:
    return [FilePart(Path("m.edge"), PAGE + i * nbytes, nbytes, 0, f"w{i}", "data") for i in range(count)]


def half() -> Division:
    """32 parts of 1 MB of which about half stays."""
    return divide(parts(32, MB), 20 * MB, ring=4 * MB + 2 * PAGE)


def test_reads_are_taken_to_be_those_of_the_store() -> None:
    assert (stream_cost.READERS, stream_cost.BLOCK) == (store.READERS, store.BLOCK)


def test_bytes_and_hits() -> None:
    division = half()
    cost = predict(division, DISK, 0.001)
    assert cost.read == division.streamed_bytes
    assert cost.read + cost.stays == 32 * MB
    assert cost.hits == pytest.approx(cost.stays / (32 * MB))
    assert cost.ring == division.ring
    assert 0.4 < cost.hits < 0.6


def test_bound_by_storage() -> None:
    cost = predict(half(), DISK, 0.001)
    assert cost.bound == "storage"
    assert cost.read_seconds == pytest.approx(cost.read / RATE)
    assert cost.seconds == pytest.approx(cost.read_seconds, rel=0.05)
    assert cost.tokens_per_second == pytest.approx(1 / cost.seconds)


def test_bound_by_computing() -> None:
    division = half()
    cost = predict(division, DISK, 1.0)
    assert cost.bound == "compute"
    assert cost.seconds == pytest.approx(1.0 + GATE_SECONDS * len(division.stages), rel=3e-3)


def test_a_ring_with_one_place_does_not_overlap() -> None:
    division = divide(parts(8, MB), MB + 2 * PAGE, ring=MB + 2 * PAGE)
    assert len(division.stages) == 8
    cost = predict(division, DISK, 0.008)
    assert cost.seconds == pytest.approx(cost.read_seconds + 0.008 + 8 * GATE_SECONDS)
    wider = predict(divide(parts(8, MB), 2 * MB + 2 * PAGE, ring=2 * MB + 2 * PAGE), DISK, 0.008)
    assert wider.seconds < 0.7 * cost.seconds


def test_a_small_ring_has_room_for_few_reads_at_a_time() -> None:
    """On a disk that gives twice as much with four of them."""
    disk = Storage({(size, depth): RATE * (1 if depth == 1 else 2) for size in (4096, MB) for depth in (1, 4)}, "m")
    rates = [predict(divide(parts(16, MB), size, ring=size), disk, 0.0).bandwidth
             for size in (2 * MB + 2 * PAGE, 6 * MB + 2 * PAGE)]  # fmt: skip
    assert rates == [pytest.approx(RATE), pytest.approx(2 * RATE)]


def test_all_in_memory() -> None:
    cost = predict(divide(parts(4, MB), 100 * MB), DISK, 0.01)
    assert (cost.read, cost.hits, cost.seconds, cost.bound) == (0, 1.0, 0.01, "compute")
    assert cost.tokens_per_second == pytest.approx(100)


def test_a_chunk_reads_once() -> None:
    one, many = predict(half(), DISK, 0.001), predict(half(), DISK, 0.016, tokens=64)
    assert many.read == one.read
    assert many.tokens_per_second > 30 * one.tokens_per_second


def test_a_run_that_uses_less() -> None:
    division = half()
    wanted = parts(32, MB)[:16]
    cost = predict(division, DISK, 0.001, uses=wanted)
    assert 12 * MB < cost.read + cost.stays < 20 * MB  # stages hold neighbours together
    assert predict(division, DISK, 0.001, uses=parts(32, MB)) == predict(division, DISK, 0.001)


def test_tables_are_read_before_anything_else() -> None:
    without, with_rows = predict(half(), DISK, 1.0), predict(half(), DISK, 1.0, looked_up=10 * MB)
    assert with_rows.seconds - without.seconds == pytest.approx(10 * MB / RATE, rel=0.01)


def test_small_reads_cost_more() -> None:
    asking = Storage({(size, d): size / (1e-3 + size / RATE) for size in (4096, MB) for d in (1, 4)}, "measured")
    few, many = parts(8, 2 * MB), parts(160, 100 << 10)
    big, small = (predict(divide(p, 5 * MB, ring=4 * MB + 2 * PAGE), asking, 0.0, block=MB) for p in (few, many))
    assert big.bandwidth == pytest.approx(MB / (1e-3 + MB / RATE))
    assert small.bandwidth < big.bandwidth


def test_in_words() -> None:
    cost = predict(half(), ASSUMED, 0.001)
    assert "for each token, predicted" in describe(cost)
    assert "assumed" in describe(cost)
    text = "\n".join(table(cost))
    for word in ("% of the weights are there", "bound by storage", "worth while", "edgert doctor --storage"):
        assert word in text
    assert "doctor" not in "\n".join(table(predict(half(), DISK, 0.001)))
    found = as_json(cost)
    assert found["hits"] == cost.hits
    assert found["read"] == cost.read


def test_predicted_beside_found() -> None:
    cost = predict(half(), DISK, 0.001)
    line = compare(cost, 10, 10 * cost.seconds * 2, 10 * cost.read, 5 * cost.seconds)
    assert "(-50 %)" in line
    assert "waited for storage 25 % of the time" in line
    assert compare(cost, 0, 0.0, 0, 0.0).startswith("predicted")
