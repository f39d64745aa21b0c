"""Decoders that give memory back while they work, and share a budget with other sessions: the answers stay the same."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import small_decoder as tiny

sys.path.insert(0, str(Path(__file__).parents[1]))

import streamed_model

import edgert
from edgert.errors import MemoryBudgetError
from edgert.format import Model, read_model, write_model
from edgert.llm.decoder import Decoder

VOCABULARY = 3000
IDS = np.random.default_rng(3).integers(0, VOCABULARY, 40).tolist()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trim") / "tiny.edge"
    write_model(tiny.tiny_decoder("q4", width=256, inner=768, vocabulary=VOCABULARY, layers=3), path)
    return path


@pytest.fixture
def model(path: Path) -> Model:
    return read_model(path)


@pytest.fixture(scope="module")
def expected(path: Path) -> np.ndarray:
    """Logits of all tokens, one by one."""
    decoder = Decoder(read_model(path))
    return np.stack([decoder.decode(token) for token in IDS])


def streams(decoder: Decoder) -> bool:
    return decoder.streamed is not None and bool(decoder.streamed.store.division.stages)


@pytest.mark.parametrize("threads", [1, 2])
def test_trim_between_tokens(model: Model, expected: np.ndarray, threads: int) -> None:
    decoder = Decoder(model, threads=threads)
    found = []
    for index, token in enumerate(IDS):
        if index == 5:
            least = decoder.trim()
        elif index == 15:
            assert streams(decoder)
            decoder.trim(least + (300 << 10))
        elif index == 25:
            decoder.trim("64M")
        found.append(decoder.decode(token))
    assert not streams(decoder) and np.array_equal(np.stack(found), expected)
    with pytest.raises(MemoryBudgetError, match="the smallest budget that works"):
        decoder.trim(least // 2)
    assert decoder.trim(least) == least
    decoder.truncate(0)
    decoder.prefill(IDS[:-1])
    assert np.array_equal(decoder.decode(IDS[-1]), expected[-1])


def test_another_thread_trims_in_the_middle_of_a_prompt(model: Model, expected: np.ndarray) -> None:
    decoder = Decoder(model, chunk=32)
    least = Decoder(model).trim()
    stop = threading.Event()

    def trim() -> None:
        while not stop.is_set():
            for extra in (0, 400 << 10, 32 << 20):
                decoder.trim(least + extra)

    other = threading.Thread(target=trim)
    other.start()
    try:
        for _ in range(6):
            decoder.truncate(0)
            assert np.array_equal(decoder.score(IDS), expected)
    finally:
        stop.set()
        other.join()


def test_a_decoder_and_a_network_share_a_budget(model: Model, expected: np.ndarray, tmp_path: Path) -> None:
    network = streamed_model.build(tmp_path / "m.edge")
    with edgert.load(network) as session:
        scores = session.run(streamed_model.feeds())["scores"]
        needs = session.trim()
    shared = edgert.SharedRam(Decoder(model).trim() + needs + (900 << 10))
    decoder = Decoder(model, ram=shared)
    assert np.array_equal(np.stack([decoder.decode(token) for token in IDS[:10]]), expected[:10])
    with edgert.load(network, ram=shared, shapes={"N": 1}) as session:
        for index in range(10, len(IDS)):
            assert np.array_equal(decoder.decode(IDS[index]), expected[index])
            assert np.array_equal(session.run(streamed_model.feeds())["scores"], scores)
        assert sum(shared.shares.values()) <= shared.nbytes and len(shared.shares) == 2
        assert streams(decoder) and decoder.memory().total <= shared.shares["tiny"]
        with pytest.raises(MemoryBudgetError, match=r"tiny .* at least .*test .* at least"):
            Decoder(model, ram=shared)
    decoder.close()
    assert shared.shares == {}
