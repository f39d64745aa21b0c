"""Decoders whose weights have no room: the same bits at any budget, a read of each weight for a run, kept promises."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_decoder as small

from edgert.errors import FormatError, InputError, MemoryBudgetError
from edgert.format import Model, StoredTensor, read_model, write_model
from edgert.format.reader import MappedParts
from edgert.format.tensor_fields import PartEntry
from edgert.llm import plans
from edgert.llm.decoder import Decoder
from edgert.llm.plans import Plans
from edgert.plan.budget import show_bytes
from edgert.runtime.gates import Gate
from edgert.stream.probe import Storage

VOCABULARY = 5000
SIZES = {"width": 256, "inner": 512, "vocabulary": VOCABULARY, "layers": 4}
IDS = np.random.default_rng(7).integers(0, VOCABULARY, 60).tolist()
FORMS = ("q4m", "untied", "rowgroup4", "group4", "bitmap4", "nm4")


def sparse(model: Model, kind: str) -> Model:
    """Half of the layers left out, groups of rows or single numbers, stored as `kind`."""
    rng = np.random.default_rng(3)
    for name, tensor in model.tensors.items():
        if tensor.encoding == "q4":
            values, scale, _ = tensor.groups()
            if kind == "nm4":
                values[:, ::2] = 8
                model.tensors[name] = StoredTensor.pack_nm(name, values, scale, 2, 4)
            else:
                one = rng.random((-(-scale.shape[0] // 2), scale.shape[1])) < 0.5
                both = np.stack([one, ~one], axis=1).reshape(-1, scale.shape[1])[: scale.shape[0]]
                values[np.repeat(both, 32, axis=1)[:, : values.shape[1]]] = 8
                model.tensors[name] = getattr(StoredTensor, f"pack_{kind}")(name, values, scale)
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("streaming")
    paths = {form: folder / f"{form}.edge" for form in FORMS}
    write_model(small.tiny_decoder("q4m", **SIZES), paths["q4m"])
    write_model(small.tiny_decoder("q4", tied=False, **SIZES), paths["untied"])
    for form in FORMS[2:]:
        write_model(sparse(small.tiny_decoder("q4", **SIZES), form), paths[form])
    return paths


@pytest.fixture(scope="module")
def model(files: dict[str, Path]) -> Model:
    return read_model(files["q4m"])


@pytest.fixture(autouse=True)
def _no_readers_left() -> Iterator[None]:
    if readers():
        gc.collect()  # what earlier tests forgot
    yield
    assert not readers()


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("edgert-reader")]


def opened(model: Model, **options: Any) -> closing[Decoder]:
    return closing(Decoder(model, **options))


def plans_of(model: Model) -> Plans:
    """The plans of the shortest runs on one thread, streamed."""
    with opened(model, threads=1) as decoder:
        return Plans(model, decoder._plans.options, stream=True, bounded=True, chunk=16)


def answers(decoder: Decoder) -> np.ndarray:
    """Logits of the last 20 tokens: a prefill run, then one by one, then several at a time."""
    decoder.truncate(0)
    decoder.prefill(IDS[:40])
    one_by_one = [decoder.decode(token) for token in IDS[40:50]]
    return np.concatenate([one_by_one, decoder.score(IDS[50:])])


@pytest.mark.parametrize("form", FORMS)
def test_the_same_bits_at_every_budget(form: str, files: dict[str, Path]) -> None:
    model = read_model(files[form])
    with opened(model) as decoder:
        expected = answers(decoder)
        assert decoder.streamed is None
    least, whole = plans_of(model).least, plans_of(model).whole
    for share, threads in ((0.0, 1), (0.3, 2), (0.6, 1)):
        ram = round(least + share * (whole - least)) + 300_000 * (threads - 1)
        with opened(read_model(files[form]), ram=ram, threads=threads) as decoder:
            assert decoder.memory().total <= ram
            assert np.array_equal(answers(decoder), expected)
            assert np.array_equal(answers(decoder), expected)
            assert decoder.streamed is not None and decoder.streamed.store.division.stages
            assert decoder.streamed.store.division.held < ram


def test_sparse_weights_are_streamed_as_they_lie_in_the_file(files: dict[str, Path]) -> None:
    dense, halved = (plans_of(read_model(files[form])) for form in ("untied", "group4"))
    layers = {part.tensor for part in halved.parts if part.tensor[-4:-1] == "_w."}
    assert len(layers) == 4 * SIZES["layers"]
    nbytes = [sum(part.nbytes for part in plans.parts if part.tensor in layers) for plans in (dense, halved)]
    assert nbytes[1] < 0.55 * nbytes[0]


def test_with_room_for_everything_weights_are_mapped(model: Model) -> None:
    with opened(model, ram="64M") as decoder:
        answers(decoder)
        assert decoder.streamed is None and "MB/s" not in decoder.summary()
    with opened(model, stream="always") as decoder:
        expected = answers(decoder)
        assert decoder.streamed is not None and not decoder.streamed.store.division.stages
        assert "all weights read into memory" in decoder.summary()
    with opened(model) as decoder:
        assert np.array_equal(answers(decoder), expected)


def test_weights_that_lie_in_no_file_stay(model: Model) -> None:
    made = small.tiny_decoder("q4m", **SIZES)
    with opened(model) as expected, opened(made, stream="always") as decoder:
        assert np.array_equal(answers(decoder), answers(expected))
        assert decoder.streamed is None
    with pytest.raises(MemoryBudgetError):
        Decoder(made, ram=plans_of(model).least)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_taken_by_the_mapping(form: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is planned and streamed is not read by the mapping as well, which would count twice."""
    taken: list[tuple[str, str]] = []
    check = MappedParts._check

    def noted(parts: MappedParts, part: PartEntry) -> np.ndarray:
        if part.spec.nbytes > 8 << 10:
            taken.append((parts._entry.name, part.spec.role))
        return check(parts, part)

    ram = plans_of(read_model(files[form])).least + 400_000
    monkeypatch.setattr(MappedParts, "_check", noted)
    with opened(read_model(files[form]), ram=ram, threads=1) as decoder:
        answers(decoder)
    assert not taken


def test_every_weight_is_read_once_for_a_run(model: Model) -> None:
    """From prefill to decoding and back, what was read ahead is kept."""
    ram = plans_of(model).least + 400_000
    with opened(model, ram=ram, threads=1) as decoder:
        decoder.prefill(IDS[:16])
        assert decoder.streamed is not None
        store = decoder.streamed.store
        used = {part for _, part in decoder.plan("prefill").uses}
        of_prefill = sum(stage.nbytes for stage in store.division.stages if used & {p.part for p in stage.parts})
        start = store.statistics.bytes_read
        for _ in range(3):
            decoder.truncate(0)
            decoder.prefill(IDS[: decoder.plan("prefill").inputs["tokens"].type.numel])
        decoder.truncate(0)
        for token in IDS[:5]:
            decoder.decode(token)
        store.quiesce()
        expected = 3 * of_prefill + 5 * store.division.streamed_bytes
        found = store.statistics.bytes_read - start
        assert abs(found - expected) <= 2 * store.division.ring
        assert store.statistics.laps == 9


def test_prefill_runs_are_as_long_as_reading_takes(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer on slow storage, as long as weights keep most of the room."""
    ram = plans_of(model).least + (1 << 20)

    def chunk(rate: float, ram: int) -> int:
        monkeypatch.setattr(plans, "load_storage", lambda _: Storage({(1 << 20, 4): rate}, "measured"))
        with opened(model, ram=ram, threads=1) as decoder:
            assert decoder.memory().total <= ram
            return decoder.plan("prefill").inputs["tokens"].type.numel

    monkeypatch.setattr(plans, "chunk_for", lambda _: 16)
    fast, slow, tight = chunk(1e12, ram), chunk(1e6, ram), chunk(1e6, ram - (1 << 20))
    assert (fast, tight) == (16, 16) and slow > 16


def test_too_little_says_what_would_fit(files: dict[str, Path]) -> None:
    """Each budget and each flag that an error names works."""
    model = read_model(files["q4m"])
    least = plans_of(model).least
    Decoder(model, ram=least, threads=1).close()
    with pytest.raises(MemoryBudgetError, match=rf"ram={least} \({show_bytes(least)}\)"):
        Decoder(model, ram=least - 1, threads=1)
    ram = least - 30_000
    with pytest.raises(MemoryBudgetError) as caught:
        Decoder(model, ram=ram, threads=1)
    fits = str(caught.value).partition("; within ")[2].split(" fits ")[1]
    first, second = fits.split(" or ")
    assert first.startswith("--n-ctx ") and second.startswith("--kv int8")
    for flags in (first.split(), second.split()):
        given = dict(zip(flags[::2], flags[1::2], strict=True))
        n_ctx = int(given["--n-ctx"]) if "--n-ctx" in given else None
        with opened(model, ram=ram, threads=1, n_ctx=n_ctx, kv=given.get("--kv", "f16")) as decoder:
            decoder.decode(1)
            assert decoder.memory().total <= ram
    with pytest.raises(MemoryBudgetError) as caught:
        Decoder(model, ram=1000, threads=1)
    assert "fits" not in str(caught.value)
    with pytest.raises(MemoryBudgetError):
        Decoder(model, ram=least, threads=1, stream="never")


def test_options_are_checked(model: Model) -> None:
    for options in ({"stream": "sometimes"}, {"checks": "twice"}):
        with pytest.raises(InputError, match=next(iter(options))):
            Decoder(model, **options)  # type: ignore[arg-type]


def test_damage_is_found_when_it_arrives(files: dict[str, Path], tmp_path: Path) -> None:
    """In what stays, in what is streamed and in a table; and not looked for where that was asked for."""
    content = bytearray(files["untied"].read_bytes())
    model = read_model(files["untied"])
    ram = plans_of(model).least + 200_000
    plans = plans_of(model)
    division = plans.divide(ram)
    large = next(part for part in division.resident if part.nbytes > 1000)
    for index, part in enumerate((large, division.stages[2].parts[0].part, plans.tables[0])):
        path = tmp_path / f"{index}.edge"
        path.write_bytes(content)
        with path.open("r+b") as stream:
            stream.seek(part.offset + part.nbytes // 2)
            stream.write(bytes([content[part.offset + part.nbytes // 2] ^ 16]))
        with opened(read_model(path), ram=ram, threads=1) as decoder, pytest.raises(FormatError, match="CRC-32"):
            answers(decoder)
        with opened(read_model(path), ram=ram, threads=1, checks="never") as decoder:
            answers(decoder)


def test_after_an_error_the_next_run_starts_anew(files: dict[str, Path], model: Model, tmp_path: Path) -> None:
    path = tmp_path / "cut.edge"
    content = files["q4m"].read_bytes()
    path.write_bytes(content)
    with opened(model) as decoder:
        expected = decoder.decode(5)
    with opened(read_model(path), ram=plans_of(model).least + 200_000, threads=1) as decoder:
        decoder.decode(5)
        os.truncate(path, len(content) // 2)
        with pytest.raises(FormatError):
            for token in IDS:
                decoder.decode(token)
        path.write_bytes(content)
        decoder.truncate(0)
        assert np.array_equal(decoder.decode(5), expected)


def test_an_interrupt_leaves_the_cache_as_it_was(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(model) as decoder:
        expected = answers(decoder)
    with opened(model, ram=plans_of(model).least, threads=1) as decoder:
        decoder.prefill(IDS[:40])
        assert decoder.streamed is not None
        acquire, calls = decoder.streamed.store.acquire, []

        def interrupted(stage: int) -> None:
            calls.append(stage)
            if len(calls) == 4:
                raise KeyboardInterrupt
            acquire(stage)

        monkeypatch.setattr(
            Gate, "__call__", lambda gate: [interrupted(s) if c == acquire else c(s) for c, s in gate._calls]
        )
        with pytest.raises(KeyboardInterrupt):
            decoder.decode(IDS[40])
        assert decoder.n_past == 40
        found = [decoder.decode(token) for token in IDS[40:50]]
        assert np.array_equal(found, expected[:10])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_goes_on_by_itself(model: Model) -> None:
    with opened(model, ram=plans_of(model).least + 500_000, threads=2) as decoder:
        expected = answers(decoder)
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(answers(decoder), expected) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert np.array_equal(answers(decoder), expected)


def test_profiling_streamed_weights(model: Model) -> None:
    with opened(model, ram=plans_of(model).least, threads=1) as decoder:
        decoder.prefill(IDS[:20])
        times = decoder.profile(IDS[20])
        assert {time.op for time in times} >= {"Gather", "Gemm", "GroupQueryAttention"}
        with opened(model) as other:
            other.prefill(IDS[:20])
            assert np.array_equal(decoder.decode(IDS[20]), other.decode(IDS[20]))


def test_the_first_line_predicts(model: Model) -> None:
    with opened(model, ram=plans_of(model).least, threads=1) as decoder:
        words = decoder.summary()
        assert decoder.streamed is not None
        cost = decoder.streamed.cost()
        assert show_bytes(cost.read) in words and "tokens/s" in words
        assert any(how in words for how in ("O_DIRECT", "buffered"))
        assert 0 < cost.hits < 1 and cost.looked_up > 0
