"""What streaming will cost: bytes of a run, what is there already, seconds, tokens per second; and how right that was.

Pure functions of a division, of measured storage and of the predicted time to compute. The division is residency.py,
the measurement edgert/stream/probe.py.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgert.format.parts import FilePart
from edgert.plan.budget import show_bytes
from edgert.stream.probe import Storage
from edgert.stream.stages import Division, Stage

READERS, BLOCK = 4, 4 << 20
"""Reads at a time, and bytes of the largest: those of edgert/stream/store.py, unless a store is made otherwise."""
GATE_SECONDS = 3e-5
"""Of Python between the native calls of two stages: to wait for one and to give one back."""
LAPS = 4
"""Runs that are played through: the first begins with an empty ring, from the second on they are alike."""


@dataclass(frozen=True)
class StreamCost:
    """What a run is predicted to take, once the ring is in motion.

    read: bytes from storage in a run. stays: bytes of weights that a run finds in memory. ring: bytes of the ring.
    looked_up: bytes read of tables of which a run needs some rows. read_seconds: the reads alone; compute_seconds: the
    run if all were in memory; seconds: both together, as far as the ring lets them overlap. tokens: of a run.
    worth_while: the smallest read that takes no longer to ask for than to give. storage: 'measured' or 'assumed'."""

    read: int
    stays: int
    ring: int
    looked_up: int
    read_seconds: float
    compute_seconds: float
    seconds: float
    tokens: int
    worth_while: int
    storage: str

    @property
    def hits(self) -> float:
        """The share of the weights of a run that is in memory already, 0 to 1."""
        return self.stays / (self.stays + self.read) if self.stays + self.read else 1.0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def bandwidth(self) -> float:
        """Bytes per second of the reads alone."""
        return self.read / self.read_seconds if self.read_seconds else 0.0

    @property
    def bound(self) -> str:
        """'storage' or 'compute': which of them takes longer."""
        return "storage" if self.read_seconds > self.compute_seconds else "compute"


def predict(
    division: Division, storage: Storage, compute_seconds: float, *, uses: Collection[FilePart] | None = None,
    tokens: int = 1, looked_up: int = 0, readers: int = READERS, block: int = BLOCK,
) -> StreamCost:  # fmt: skip
    """The cost of a run that follows others like it, and uses the parts of `uses` or all.

    compute_seconds: the predicted time of a run with all weights in memory; every stage gets its share by bytes, as
    what stays is spread evenly among the stages. tokens: that a run advances. looked_up: see StreamCost.
    """
    wanted = None if uses is None else set(uses)
    stays = sum(part.nbytes for part in division.resident if wanted is None or part in wanted)
    stages = [
        stage for stage in division.stages if wanted is None or not wanted.isdisjoint(p.part for p in stage.parts)
    ]
    reads = [_read_seconds(stage, storage, _depth(stage, division.ring, readers, block), block) for stage in stages]
    tables = looked_up / storage.bandwidth(min(looked_up, block), 1) if looked_up else 0.0
    alone = compute_seconds + tables + GATE_SECONDS * len(stages)
    total = sum(stage.nbytes for stage in stages)
    shares = [alone * stage.nbytes / total for stage in stages]
    return StreamCost(
        read=total, stays=stays, ring=division.ring, looked_up=looked_up, read_seconds=sum(reads),
        compute_seconds=compute_seconds, seconds=_lap(stages, reads, shares) if stages else alone, tokens=tokens,
        worth_while=storage.worth_while(readers), storage=storage.source,
    )  # fmt: skip


def _depth(stage: Stage, ring: int, readers: int, block: int) -> int:
    """Reads at a time: as many as readers, but no more than there is room for while a stage like this is used."""
    piece = min(block, max((extent.nbytes for extent in stage.extents), default=block))
    return max(1, min(readers, (ring - stage.nbytes) // piece))


def _read_seconds(stage: Stage, storage: Storage, readers: int, block: int) -> float:
    """Each extent in blocks, with the readers of all blocks at work together."""
    seconds = 0.0
    for extent in stage.extents:
        whole, rest = divmod(extent.nbytes, block)
        seconds += whole * block / storage.bandwidth(block, readers) if whole else 0.0
        seconds += rest / storage.bandwidth(rest, readers) if rest else 0.0
    return seconds


def _lap(stages: Sequence[Stage], reads: Sequence[float], shares: Sequence[float]) -> float:
    """Seconds from one run's end to the next: a stage is read when the one before has been and its place is free, and
    used when it has been read and the one before was used."""
    count = len(stages)
    before = [_waits_for(stages, index) for index in range(count)]
    used = [0.0] * (LAPS * count)
    arrived = done = 0.0
    for turn in range(LAPS * count):
        back = before[turn % count]
        free = used[turn - back] if back <= turn else 0.0
        arrived = max(arrived, free) + reads[turn % count]
        done = max(done, arrived) + shares[turn % count]
        used[turn] = done
    return used[-1] - used[-1 - count]


def _waits_for(stages: Sequence[Stage], index: int) -> int:
    """How many stages back the last one was that had some of the place of stage `index`; around the ring it may be
    itself."""
    own = stages[index]
    for back in range(1, len(stages)):
        other = stages[(index - back) % len(stages)]
        if other.place < own.end and own.place < other.end:
            return back
    return len(stages)


def describe(cost: StreamCost, unit: str = "token") -> str:
    """For the first line of a run: '612.0 MB of 1.2 GB read for each token, predicted 1.9 tokens/s (storage ...)'."""
    each = unit if cost.tokens == 1 else f"{cost.tokens} {unit}s"
    return (
        f"{show_bytes(cost.read)} of {show_bytes(cost.read + cost.stays)} read for each {each}, predicted "
        f"{cost.tokens_per_second:.{1 if cost.tokens_per_second < 100 else 0}f} {unit}s/s "
        f"(storage {cost.bandwidth / 1e6:.0f} MB/s {cost.storage})"
    )


def table(cost: StreamCost, unit: str = "token") -> list[str]:
    """For `edgert inspect --plan --ram`: a line for each thing that is predicted."""
    each = f"each {unit}" if cost.tokens == 1 else f"{cost.tokens} {unit}s"
    tables = f", and {show_bytes(cost.looked_up)} of tables" if cost.looked_up else ""
    lines = [
        f"streamed   {show_bytes(cost.read)} for {each}{tables}; {show_bytes(cost.stays)} stay, so that "
        f"{100 * cost.hits:.1f} % of the weights are there; ring {show_bytes(cost.ring)}",
        f"predicted  {1e3 * cost.read_seconds:.1f} ms to read at {cost.bandwidth / 1e6:.0f} MB/s ({cost.storage}), "
        f"{1e3 * cost.compute_seconds:.1f} ms to compute, together {1e3 * cost.seconds:.1f} ms: "
        f"{cost.tokens_per_second:.2f} {unit}s/s, bound by {cost.bound}",
        f"           reads of {show_bytes(cost.worth_while)} and more are worth while on this storage",
    ]
    if cost.storage == "assumed":
        lines.append("           the storage has not been measured: edgert doctor --storage FILE does")
    return lines


def as_json(cost: StreamCost) -> dict[str, Any]:
    """The same as plain data; bytes and seconds."""
    derived = {
        "hits": cost.hits, "tokens_per_second": cost.tokens_per_second, "bandwidth": cost.bandwidth,
        "bound": cost.bound,
    }  # fmt: skip
    return asdict(cost) | derived


def compare(cost: StreamCost, tokens: int, seconds: float, bytes_read: int, waited: float, unit: str = "token") -> str:
    """What was predicted beside what happened in `tokens` of such runs: tokens per second, bytes, and the share of the
    time that computing waited for storage."""
    rate, each = (tokens / seconds, bytes_read / tokens) if tokens and seconds else (0.0, 0.0)
    error = f" ({100 * (rate / cost.tokens_per_second - 1):+.0f} %)" if cost.tokens_per_second and rate else ""
    share = waited / seconds if seconds else 0.0
    return (
        f"predicted {cost.tokens_per_second:.2f} {unit}s/s, found {rate:.2f}{error}; predicted "
        f"{show_bytes(round(cost.read / cost.tokens))} a {unit}, read {show_bytes(round(each))}; waited for storage "
        f"{100 * share:.0f} % of the time"
    )
