"""The decoder: right against the reference, and the same bits however tokens are grouped, threaded and restored."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import small_decoder as tiny

from edgert.errors import EdgertError, InputError, MemoryBudgetError, UnsupportedError
from edgert.format import Model, StoredTensor, read_model, write_model
from edgert.graph.execute import run_graph
from edgert.llm.decoder import Decoder
from edgert.llm.plans import MODES
from edgert.runtime.session import Session

IDS = np.random.default_rng(3).integers(0, tiny.VOCABULARY, 60).tolist()
ENCODINGS = ("q4", "q4m", "q8g")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Written and read again, as people have it."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.edge"
    write_model(tiny.tiny_decoder("q4m"), path)
    return read_model(path)


def reference(model: Model, ids: list[int]) -> np.ndarray:
    """Logits [n, V] of the graph in NumPy, in one run."""
    feeds = {"tokens": np.array(ids, np.int32), "positions": np.arange(len(ids), dtype=np.int32)}
    cache = np.zeros((tiny.KV_HEADS, tiny.CONTEXT, tiny.DEPTH), np.float32)
    feeds |= {name: cache for name in model.graph.states}
    return run_graph(model.unpacked_graph(), feeds)["logits"]


def one_by_one(decoder: Decoder, ids: list[int]) -> np.ndarray:
    return np.stack([decoder.decode(token) for token in ids])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_logits_are_those_of_the_reference(encoding: str) -> None:
    """Within what 8-bit activations and a half-precision cache cost."""
    model = tiny.tiny_decoder(encoding)
    expected = reference(model, IDS)
    found = one_by_one(Decoder(model), IDS)
    error = np.sqrt(np.mean((found - expected) ** 2)) / expected.std()
    assert error < 0.03
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


def test_int16_activations_give_the_float_model(model: Model) -> None:
    expected = reference(model, IDS)
    found = one_by_one(Decoder(model, activations="int16"), IDS)
    assert np.sqrt(np.mean((found - expected) ** 2)) / expected.std() < 2e-3


@pytest.mark.parametrize(("kv", "activations"), [("f16", "int8"), ("int8", "int8"), ("f16", "int16")])
@pytest.mark.parametrize("threads", [1, 2])
def test_grouping_does_not_change_a_bit(model: Model, kv: str, activations: str, threads: int) -> None:
    expected = one_by_one(Decoder(model, kv=kv, activations=activations, threads=1), IDS)
    decoder = Decoder(model, kv=kv, activations=activations, threads=threads, chunk=16)
    assert np.array_equal(decoder.score(IDS), expected)
    for split in (1, 15, 16, 17, 33, 59):
        decoder.truncate(0)
        decoder.prefill(IDS[:split])
        assert decoder.n_past == split
        assert np.array_equal(decoder.score(IDS[split:]), expected[split:])


def test_an_int8_cache_stays_near_half_precision(model: Model) -> None:
    exact, short = (one_by_one(Decoder(model, kv=kv), IDS) for kv in ("f16", "int8"))
    assert np.corrcoef(exact.ravel(), short.ravel())[0, 1] > 0.999


def test_forgetting_and_going_on(model: Model) -> None:
    decoder = Decoder(model)
    expected = one_by_one(decoder, IDS)
    decoder.truncate(20)
    decoder.prefill([1, 2, 3])
    decoder.truncate(20)
    assert np.array_equal(decoder.score(IDS[20:]), expected[20:])


@pytest.mark.parametrize("kv", ["f16", "int8"])
def test_a_cache_can_be_taken_out_and_put_back(model: Model, kv: str) -> None:
    first = Decoder(model, kv=kv)
    first.prefill(IDS[:21])
    saved = first.export_cache()
    second = Decoder(model, kv=kv, n_ctx=64)
    second.import_cache(saved, 21)
    assert np.array_equal(second.decode(IDS[21]), first.decode(IDS[21]))
    with pytest.raises(InputError, match="differs"):
        second.import_cache(saved, 40)
    other = "int8" if kv == "f16" else "f16"
    with pytest.raises(InputError, match="kv="):
        Decoder(model, kv=other).import_cache(saved, 21)


def test_wrong_tokens_and_full_contexts(model: Model) -> None:
    decoder = Decoder(model, n_ctx=8)
    with pytest.raises(InputError, match="100"):
        decoder.decode(tiny.VOCABULARY)
    with pytest.raises(InputError, match="-1"):
        decoder.prefill([3, -1])
    with pytest.raises(InputError, match="list of token ids"):
        decoder.prefill([0.5])  # type: ignore[list-item]
    decoder.prefill(IDS[:8])
    with pytest.raises(InputError, match="context of 8"):
        decoder.decode(1)
    with pytest.raises(InputError, match=r"0\.\.8"):
        decoder.truncate(9)


def test_options_are_checked(model: Model) -> None:
    for options in ({"n_ctx": 0}, {"n_ctx": tiny.CONTEXT + 1}, {"kv": "f8"}, {"activations": "f16"}, {"threads": 0}):
        with pytest.raises(InputError):
            Decoder(model, **options)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match=r"edgert\.LLM"):
        Session(model)


def test_a_budget_holds(model: Model) -> None:
    with pytest.raises(MemoryBudgetError, match="smallest budget that works is ram="):
        Decoder(model, ram="20K")
    roomy = Decoder(model, ram="4M")
    assert roomy.memory().total <= 4 << 20
    assert roomy.memory().arena > Decoder(model).memory().arena  # short runs are counted before there are any
    assert roomy.memory().state >= tiny.LAYERS * 2 * tiny.KV_HEADS * tiny.CONTEXT * tiny.DEPTH * 2


def test_the_summary_says_what_runs(model: Model) -> None:
    summary = Decoder(model, threads=1).summary()
    assert "on the host" not in summary and "context 96 f16" in summary and "1 thread" in summary


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_goes_on_by_itself(model: Model) -> None:
    decoder = Decoder(model, threads=2)
    expected = one_by_one(decoder, IDS)
    decoder.truncate(30)
    child = os.fork()
    if child == 0:
        same = np.array_equal(decoder.score(IDS[30:]), expected[30:])
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(decoder.score(IDS[30:]), expected[30:])


def test_closing_twice(model: Model) -> None:
    decoder = Decoder(model)
    decoder.prefill(IDS[:5])
    decoder.close()
    decoder.close()
    assert decoder.n_past == 0


def test_errors_are_typed(tmp_path: Path) -> None:
    model = tiny.tiny_decoder()
    model.graph.nodes = [n for n in model.graph.nodes if n.op != "GroupQueryAttention"]
    with pytest.raises(EdgertError):
        Decoder(model).decode(1)


def sparse_decoder() -> Model:
    """The tiny decoder with three quarters of its layers' groups left out, stored as rowgroup4."""
    model = tiny.tiny_decoder()
    rng = np.random.default_rng(3)
    for name, tensor in model.tensors.items():
        if tensor.encoding == "q4":
            values, scale, _ = tensor.groups()
            values[np.repeat(rng.random(scale.shape) < 0.75, 32, axis=1)[:, : values.shape[1]]] = 8
            model.tensors[name] = StoredTensor.pack_rowgroup4(name, values, scale)
    return model


def test_sparse_weights_give_the_same_logits_on_either_side_and_in_every_mode() -> None:
    model, ids = sparse_decoder(), [3, 14, 15, 92, 65, 35, 89, 79, 32, 38]
    logits = []
    for sparse in ("always", "never", "auto"):
        decoder = Decoder(model, sparse=sparse)
        scored = decoder.score(ids)
        decoder.truncate(0)
        assert np.array_equal(scored, [decoder.decode(token) for token in ids])
        logits.append(scored)
        used = {mode: any(step.sparse for step in decoder.plan(mode).steps) for mode in MODES}
        assert len(set(used.values())) == 1, "one copy of the weights serves all modes"
        decoder.close()
    assert np.array_equal(logits[0], logits[1]) and np.array_equal(logits[0], logits[2])
