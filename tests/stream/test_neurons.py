"""The window of neurons against a dictionary: every neuron is where it says, reads are few, the right ones go."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamed_files import Trouble, jitter, parts_of
from test_faults import interrupted
from test_store import wait_for

from edgert.errors import FormatError, StorageError
from edgert.format.parts import FilePart
from edgert.stream.neurons import BATCH, NeuronWindow, useful_gap
from edgert.stream.source import DirectSource
from edgert.stream.stages import PAGE


class Layers:
    """A file with the neurons of some layers, and a window on it that is checked at every step."""

    def __init__(self, path: Path, counts: list[int], nbytes: int, *, direct: bool = True) -> None:
        self.parts, self.content = parts_of(path, [count * nbytes for count in counts])
        path.write_bytes(self.content)
        self.counts, self.nbytes = counts, nbytes
        self.source = Trouble(DirectSource(path, direct=direct))

    def window(self, slots: int, **options: int) -> NeuronWindow:
        return NeuronWindow(self.source, self.parts, self.nbytes, slots, **options)

    def neuron(self, part: FilePart, number: int) -> bytes:
        return self.content[part.offset + number * self.nbytes :][: self.nbytes]

    def ask(self, window: NeuronWindow, layer: int, neurons: list[int]) -> None:
        slots = window.want(layer, np.array(neurons, np.int32))
        assert slots.dtype == np.int32
        assert len(set(slots.tolist())) == len(neurons) == len(slots)
        for number, slot in zip(neurons, slots.tolist(), strict=True):
            assert 0 <= slot < window.slots
            found = ctypes.string_at(window.address + slot * self.nbytes, self.nbytes)
            assert found == self.neuron(self.parts[layer], number)


class Model:
    """(layer, neuron) -> the run of its layer that last used it."""

    def __init__(self, layers: int) -> None:
        self.there: dict[tuple[int, int], int] = {}
        self.runs = [0] * layers

    def want(self, layer: int, neurons: list[int], present: set[tuple[int, int]]) -> int:
        """Notes a run after which `present` are there; how many were there before it."""
        self.runs[layer] += 1
        wanted = {(layer, neuron) for neuron in neurons}
        hits = len(wanted & self.there.keys())
        assert wanted <= present <= wanted | self.there.keys()
        gone, kept = self.there.keys() - present, (self.there.keys() & present) - wanted

        def worth(key: tuple[int, int]) -> tuple[int, int]:
            """The larger, the sooner it goes."""
            return self.runs[key[0]] - self.there[key], (key[0] - layer - 1) % len(self.runs)

        if gone and kept:
            assert min(map(worth, gone)) >= max(map(worth, kept))
        self.there = {key: self.runs[layer] if key in wanted else self.there[key] for key in present}
        return hits


def present(window: NeuronWindow) -> set[tuple[int, int]]:
    numbers = np.flatnonzero(window._slot_of >= 0)
    layers = np.searchsorted(window._first, numbers, side="right") - 1
    return set(zip(layers.tolist(), (numbers - window._first[layers]).tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_against_a_dictionary(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=4))
    nbytes = data.draw(st.sampled_from([64, 192, 768, 4096, 4160]))
    path = tmp_path_factory.getbasetemp() / "neurons.bin"
    layers = Layers(path, counts, nbytes, direct=data.draw(st.booleans()))
    slots = max(counts) + data.draw(st.integers(0, 100))
    gap = data.draw(st.sampled_from([0, 100, 10_000]))
    window = layers.window(slots, gap=gap, readers=data.draw(st.integers(1, 3)))
    model, wanted, hits, missing = Model(len(counts)), 0, 0, 0
    for _ in range(data.draw(st.integers(1, 25))):
        layer = data.draw(st.integers(0, len(counts) - 1))
        neurons = sorted(data.draw(st.sets(st.integers(0, counts[layer] - 1))))
        before = len(layers.source.reads)
        layers.ask(window, layer, neurons)
        assert len(layers.source.reads) - before <= len(neurons)
        hit = model.want(layer, neurons, present(window))
        wanted, hits, missing = wanted + len(neurons), hits + hit, missing + len(neurons) - hit
        assert len(window._free) == slots - len(present(window))
    statistics = window.statistics
    assert (statistics.wanted, statistics.hits) == (wanted, hits)
    assert statistics.bytes_missing == missing * nbytes
    assert statistics.bytes_read >= statistics.bytes_missing
    window.close()


def test_neighbours_are_read_together(tmp_path: Path) -> None:
    layers = Layers(tmp_path / "neurons.bin", [400], 1024)
    window = layers.window(400, gap=8 * 1024)
    layers.source.reads.clear()
    layers.ask(window, 0, [0, 1, 2, 10, 100, 101, 300])
    start = layers.parts[0].offset
    ends = [(0, 11), (100, 102), (300, 301)]
    assert sorted(layers.source.reads) == [
        ((start + a * 1024) // PAGE * PAGE, -(-(start + b * 1024) // PAGE) * PAGE - (start + a * 1024) // PAGE * PAGE)
        for a, b in ends
    ]
    assert window.statistics.reads == 3
    assert window.statistics.bytes_missing == 7 * 1024
    layers.source.reads.clear()
    layers.ask(window, 0, [0, 2, 101])
    assert layers.source.reads == []
    assert window.statistics.hits == 3
    layers.ask(window, 0, list(range(400)))
    assert max(nbytes for _, nbytes in layers.source.reads) <= window._fetcher.largest + PAGE
    window.close()


def test_what_a_token_needs_of_all_layers_stays_for_the_next(tmp_path: Path) -> None:
    """More than there is room for, layer after layer again and again: plainly the oldest first, nothing would stay."""
    layers = Layers(tmp_path / "neurons.bin", [100] * 8, 64)
    window = layers.window(400)
    for _ in range(5):
        for layer in range(8):
            layers.ask(window, layer, list(range(60)))
    before = window.statistics
    for layer in range(8):
        layers.ask(window, layer, list(range(60)))
    hits = window.statistics.hits - before.hits
    assert hits > 0.6 * 480, "of 480 wanted, 400 fit"
    assert window.statistics.evicted - before.evicted < 480 - hits + 8 * (400 // BATCH)
    window.close()


def test_nothing_is_allocated_or_moved(tmp_path: Path) -> None:
    layers = Layers(tmp_path / "neurons.bin", [50, 50], 128)
    window = layers.window(60)
    address = window.address
    assert address % 64 == 0
    assert window.held >= 60 * 128 + 2 * PAGE
    slots = window.want(0, np.arange(10, dtype=np.int32))
    window.want(1, np.arange(30, dtype=np.int32))
    assert (window.want(0, np.arange(10, dtype=np.int32)) == slots).all()
    assert window.address == address
    assert window.want(1, np.empty(0, np.int32)).shape == (0,)
    window.close()


def test_faults_leave_a_window_that_works(tmp_path: Path) -> None:
    layers = Layers(tmp_path / "neurons.bin", [100, 100], 4096)
    window = layers.window(120, gap=0)
    layers.ask(window, 0, [1, 5, 9])
    bad = (layers.parts[0].offset + 50 * 4096) // PAGE * PAGE
    layers.source.fails = lambda offset: offset == bad
    for _ in range(3):
        with pytest.raises(StorageError, match=f"at byte {bad}: cannot be read"):
            layers.ask(window, 0, list(range(1, 100, 7)))
        layers.ask(window, 0, [1, 5, 9])
    layers.source.fails = lambda offset: False
    layers.ask(window, 0, list(range(1, 100, 7)))
    layers.source.open.clear()
    with pytest.raises(KeyboardInterrupt), interrupted(0.05):
        layers.ask(window, 1, list(range(0, 100, 3)))
    threading.Timer(0.02, layers.source.open.set).start()
    layers.ask(window, 1, list(range(0, 100, 5)))
    with (tmp_path / "neurons.bin").open("r+b") as stream:
        stream.truncate(layers.parts[1].offset + 90 * 4096)
    with pytest.raises(FormatError, match="too early"):
        layers.ask(window, 1, [2, 98])
    window.close()
    window.close()
    with pytest.raises(RuntimeError, match="closed"):
        window.want(0, np.array([3], np.int32))


def test_damage_and_mistakes_are_told_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "neurons.bin"
    layers = Layers(path, [3000, 10], 192)
    with pytest.raises(ValueError, match="3000"):
        layers.window(2999)
    assert layers.source.closed == 1
    damaged = bytearray(layers.content)
    damaged[layers.parts[0].offset + 500_000] ^= 1
    path.write_bytes(damaged)
    layers.source = Trouble(DirectSource(path))
    with pytest.raises(FormatError, match=r"CRC-32 .* of .t0."):
        layers.window(3000)
    assert layers.source.closed == 1
    layers.source = Trouble(DirectSource(path))
    layers.window(3000, check=False).close()
    path.write_bytes(layers.content[:-64])
    layers.source = Trouble(DirectSource(path))
    with pytest.raises(FormatError, match="end of the file"):
        layers.window(3000)
    layers.source = Trouble(DirectSource(path))
    with pytest.raises(ValueError, match="a multiple of 64"):
        NeuronWindow(layers.source, layers.parts, 100, 3000)


def test_a_forgotten_window_stops_its_readers(tmp_path: Path) -> None:
    layers = Layers(tmp_path / "neurons.bin", [100], 4096)
    window = layers.window(100, gap=0)
    layers.ask(window, 0, list(range(0, 100, 2)))
    del window
    wait_for(lambda: layers.source.closed == 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_window_of_its_own(tmp_path: Path) -> None:
    layers = Layers(tmp_path / "neurons.bin", [100, 100], 4096)
    window = layers.window(150, gap=0)
    layers.ask(window, 0, list(range(0, 100, 2)))
    child = multiprocessing.get_context("fork").Process(target=_in_child, args=(layers, window))
    child.start()
    layers.ask(window, 1, list(range(0, 100, 3)))
    child.join(20)
    assert child.exitcode == 0
    layers.ask(window, 0, list(range(100)))
    window.close()


def _in_child(layers: Layers, window: NeuronWindow) -> None:
    before = len(layers.source.reads)
    layers.ask(window, 0, list(range(0, 100, 2)))
    assert len(layers.source.reads) == before
    layers.ask(window, 1, list(range(0, 100, 4)))
    layers.ask(window, 0, list(range(100)))
    window.close()


class Interrupt(Exception):
    """Raised by a signal handler between any two instructions."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this system")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_at_any_instruction(tmp_path: Path) -> None:
    rng = random.Random(11)
    layers = Layers(tmp_path / "neurons.bin", [60, 80], 1024)
    layers.source.delay = jitter(2, 0.001)
    window = layers.window(100, gap=0)
    armed = False

    def handler(number: int, frame: object) -> None:
        if armed:
            raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    hits = 0
    try:
        for _ in range(150):
            try:
                try:
                    armed = True
                    signal.setitimer(signal.ITIMER_REAL, rng.random() * 0.004 + 1e-5)
                    for _ in range(3):
                        layer = rng.randrange(2)
                        layers.ask(window, layer, sorted(rng.sample(range(layers.counts[layer]), 20)))
                finally:
                    armed = False
            except Interrupt:
                hits += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert hits > 20
    window.close()


def test_a_gap_is_worth_what_another_read_costs() -> None:
    def disk(nbytes: int, depth: int) -> float:
        return nbytes / (1e-4 / depth + nbytes / 1e9)

    assert abs(useful_gap(disk, 4) - 25e-6 * 1e9) < 5000
    assert useful_gap(lambda nbytes, depth: 1e9) == 0
