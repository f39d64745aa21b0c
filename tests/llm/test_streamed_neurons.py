"""Decoders that read neurons one by one: the same bits at every budget, kept promises, and a window that is used."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import small_decoder as small

from edgert.errors import FormatError, MemoryBudgetError
from edgert.format import Model, StoredTensor, read_model, write_model
from edgert.graph.ir import Node
from edgert.llm import plans
from edgert.llm.decoder import Decoder
from edgert.llm.plans import Plans
from edgert.stream.probe import BLOCKS, DEPTHS, Storage

WIDTH, INNER, LAYERS, VOCABULARY = 256, 600, 4, 1000
IDS = np.random.default_rng(7).integers(0, VOCABULARY, 60).tolist()


def of_neurons(model: Model, threshold: float = 0.3) -> Model:
    """The gated layers of a small decoder, neuron by neuron, with other numbers."""
    rng, graph, tensors = np.random.default_rng(5), model.graph, model.tensors
    for i in range(LAYERS):
        for name in (f"gate_up_w.{i}", f"down_w.{i}"):
            del tensors[name], graph.types[name]
        gate = small.grouped(rng, f"gate_w.{i}", INNER, WIDTH, "q4")
        numbers = rng.integers(0, 16, (INNER, 2, WIDTH)).astype(np.uint8)
        scale = (rng.uniform(0.5, 1.5, (INNER, 2, WIDTH // 32)) / 64).astype(np.float16)
        neurons = StoredTensor.pack_neurons(f"neurons.{i}", numbers, scale, "neurons4")
        for tensor in (gate, neurons):
            tensors[tensor.name] = tensor
            graph.types[tensor.name] = tensor.type
        attrs: dict[str, str | float] = {"activation": "Silu", "threshold": threshold}
        made = (
            Node("Gemm", (f"h2.{i}", gate.name), (f"gate.{i}",), {"transB": 1}, f"gate.{i}"),
            Node("NeuronFFN", (f"h2.{i}", f"gate.{i}", neurons.name, f"x1.{i}"), (f"x2.{i}",), attrs, f"x2.{i}"),
        )
        at = next(index for index, node in enumerate(graph.nodes) if node.name == f"gate_up.{i}")
        graph.nodes[at : at + 3] = made
    return model


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("neurons") / "model.edge"
    sizes = {"width": WIDTH, "inner": INNER, "vocabulary": VOCABULARY, "layers": LAYERS}
    write_model(of_neurons(small.tiny_decoder("q4", **sizes)), path)
    return path


@pytest.fixture(autouse=True)
def _no_readers_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """And neurons are read one by one, whatever the storage here is."""
    monkeypatch.setattr(plans, "SKIPPED", 1e9)
    if readers():
        gc.collect()  # what earlier tests forgot
    yield
    assert not readers()


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("edgert-reader")]


def plans_of(model: Model) -> Plans:
    with closing(Decoder(model, threads=1)) as decoder:
        return Plans(model, decoder._plans.options, stream=True, bounded=True, chunk=16)


def answers(decoder: Decoder) -> np.ndarray:
    decoder.truncate(0)
    decoder.prefill(IDS[:40])
    one_by_one = [decoder.decode(token) for token in IDS[40:50]]
    return np.concatenate([one_by_one, decoder.score(IDS[50:])])


def test_the_same_bits_at_every_budget(path: Path) -> None:
    with closing(Decoder(read_model(path))) as decoder:
        expected = answers(decoder)
    made = plans_of(read_model(path))
    assert len(made.neurons) == LAYERS
    least, whole = made.least, made.whole
    hits = []
    for share, threads in ((0.0, 1), (0.4, 2), (0.8, 1)):
        ram = round(least + share * (whole - least)) + 300_000 * (threads - 1)
        with closing(Decoder(read_model(path), ram=ram, threads=threads, stream="always")) as decoder:
            assert decoder.memory().total <= ram
            for _ in range(2):
                assert np.array_equal(answers(decoder), expected)
            assert decoder.streamed is not None and decoder.streamed.window is not None
            window, statistics = decoder.streamed.window, decoder.streamed.window.statistics
            assert INNER <= window.slots <= LAYERS * INNER
            assert window.held + decoder.streamed.store.division.held < ram
            assert statistics.bytes_missing == (statistics.wanted - statistics.hits) * window.nbytes
            hits.append(statistics.hits / statistics.wanted)
    assert hits == sorted(hits) and hits[0] < hits[-1]


def test_with_room_for_all_they_are_read_once(path: Path) -> None:
    with closing(Decoder(read_model(path), stream="always")) as decoder:
        expected = answers(decoder)
        assert decoder.streamed is not None and decoder.streamed.window is not None
        before = decoder.streamed.window.statistics
        assert before.bytes_missing <= LAYERS * INNER * decoder.streamed.window.nbytes
        assert np.array_equal(answers(decoder), expected)
        assert decoder.streamed.window.statistics.bytes_read == before.bytes_read


def test_where_no_neuron_rests_layers_are_streamed_whole(path: Path) -> None:
    with closing(Decoder(read_model(path), neurons=0.0)) as decoder:
        expected = answers(decoder)
    with closing(Decoder(read_model(path), neurons=0.0, stream="always", ram="8M", threads=1)) as decoder:
        assert np.array_equal(answers(decoder), expected)
        assert decoder.streamed is not None and decoder.streamed.window is None
        assert any(part.tensor == "neurons.0" for part in decoder._plans.parts)


def test_storage_that_is_slow_to_ask_streams_layers_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk(overhead: float) -> Callable[[object], Storage]:
        rates = {(b, d): b / (overhead + b / 1e9) for b in BLOCKS for d in DEPTHS}
        return lambda file: Storage(rates, "measured", where="a disk")

    monkeypatch.setattr(plans, "SKIPPED", 4.0)
    for overhead, layers in ((1e-7, LAYERS), (1e-3, 0)):
        monkeypatch.setattr(plans, "load_storage", disk(overhead))
        assert len(plans_of(read_model(path)).neurons) == layers


def test_too_little_says_what_works(path: Path) -> None:
    least = plans_of(read_model(path)).least
    with pytest.raises(MemoryBudgetError, match=f"ram={least}"):
        Decoder(read_model(path), ram=least - 1, threads=1, stream="always")
    with closing(Decoder(read_model(path), ram=least, threads=1)) as decoder:
        answers(decoder)


def test_trim_and_damage(path: Path, tmp_path: Path) -> None:
    model = read_model(path)
    with closing(Decoder(model, threads=1, stream="always")) as decoder:
        expected = answers(decoder)
        ram = decoder.trim()
        assert np.array_equal(answers(decoder), expected)
        assert decoder.memory().total <= ram
    damaged = bytearray(path.read_bytes())
    place = model.tensors["neurons.2"].parts.place("data")  # type: ignore[attr-defined]
    damaged[place.offset + 3000] ^= 1
    (tmp_path / "damaged.edge").write_bytes(damaged)
    with (
        closing(Decoder(read_model(tmp_path / "damaged.edge"), stream="always")) as decoder,
        pytest.raises(FormatError, match=r"CRC-32 .* of 'neurons.2' data"),
    ):
        answers(decoder)
