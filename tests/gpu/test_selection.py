"""A language model on a device draws the same tokens from the logits that are selected there as from all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "llm"))

import small_decoder as tiny
from fakes import byte_tokenizer

import edgert
from edgert.errors import InputError
from edgert.kernels_gpu.device import DeviceInfo
from edgert.kernels_gpu.memory import Mirror
from edgert.llm.decoder import Decoder
from edgert.llm.generate import Generation, Options
from edgert.llm.prefix import Context
from edgert.llm.sampler import Sampling
from edgert.llm.selection import SELECTED, selected_of
from edgert.runtime import accelerator as module
from edgert.runtime.gpu_executable import GpuExecutable

WORDS = 3000
PROMPT = np.random.default_rng(3).integers(0, WORDS, 30).tolist()
GREEDY = Sampling(temperature=0)
SAMPLINGS = [
    GREEDY, replace(GREEDY, repeat_penalty=1.3), replace(GREEDY, logit_bias={5: -9.0, PROMPT[0]: -float("inf")}),
    *(Sampling(seed=seed, temperature=1.2, top_k=60) for seed in range(8)),
    *(Sampling(seed=seed, temperature=0.7, repeat_penalty=1.1, min_p=0.0) for seed in range(4)),
    *(Sampling(seed=seed, frequency_penalty=0.5, presence_penalty=0.2, top_p=0.5) for seed in range(4)),
]  # fmt: skip


def copied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets the bytes of each range that the host takes from now on."""
    taken: list[int] = []
    usual = Mirror.to_host

    def counting(self: Mirror, ranges: Iterable[tuple[int, int]]) -> None:
        ranges = list(ranges)
        taken.extend(stop - start for start, stop in ranges)
        usual(self, ranges)

    monkeypatch.setattr(Mirror, "to_host", counting)
    return taken


def _again(decoder: Decoder, token: int) -> np.ndarray:
    """The largest logits after `token`, in place of the last token."""
    decoder.truncate(decoder.n_past - 1)
    return decoder.decode_largest(token).values


@pytest.mark.parametrize("unified", [True, False])
def test_the_same_tokens(unified: bool, device: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, can = module.choose, replace(device.capabilities, unified=unified)
    monkeypatch.setattr(module, "choose", lambda spec: replace(usual(spec), capabilities=can))
    decoder = Decoder(tiny.tiny_decoder("q4m", vocabulary=WORDS), threads=1, chunk=16, device=device.spec)
    assert decoder.selected == SELECTED
    context = Context(decoder)

    def generated(sampling: Sampling) -> tuple[list[int], str]:
        options = Options(sampling, max_tokens=20)
        generation = Generation(context, byte_tokenizer(), PROMPT, options)
        return [token.id for token in generation], generation.selection

    some = [generated(sampling) for sampling in SAMPLINGS]
    with monkeypatch.context() as patch:
        patch.setattr(Generation, "_why_all", lambda self: "a test")
        every = [generated(sampling) for sampling in SAMPLINGS]
    assert [tokens for tokens, _ in some] == [tokens for tokens, _ in every]
    assert {words for _, words in some} == {f"{SELECTED} largest logits selected on the device for each token"}
    assert {words for _, words in every} == {"all logits handed over for each token: a test"}
    assert f"{SELECTED} largest logits selected on the device" in decoder.summary()
    decoder.close()


@pytest.mark.parametrize("elsewhere", ["", "top_k", "matvec"])
def test_what_is_handed_over(elsewhere: str, device: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The selected logits are those of all, and no more bytes are copied; also where the processor selects."""
    usual, can = module.choose, replace(device.capabilities, unified=False)
    monkeypatch.setattr(module, "choose", lambda spec: replace(usual(spec), capabilities=can))
    rule = module.wherever_possible

    def fewer(*args: object) -> Callable[..., str]:
        choose = rule(*args)  # type: ignore[arg-type]
        return lambda index, op: "no" if elsewhere and elsewhere in op.kernel else choose(index, op)

    monkeypatch.setattr(module, "wherever_possible", fewer)
    decoder = Decoder(tiny.tiny_decoder("q4m", vocabulary=WORDS), threads=1, device=device.spec)
    logits = decoder.decode(7)
    decoder.truncate(0)
    taken = copied(monkeypatch)
    ids, values = decoder.decode_largest(7)
    order = np.argsort(-logits, kind="stable")[:SELECTED]
    np.testing.assert_array_equal(ids, np.sort(order))
    np.testing.assert_array_equal(values, logits[ids])
    assert isinstance(decoder._ready["decode"], GpuExecutable)
    if not elsewhere:
        assert sum(taken) == 12 * SELECTED
    decoder.prefill([3])
    assert elsewhere or sum(taken) == 12 * SELECTED, "a part of a prompt hands over nothing"
    np.testing.assert_array_equal(np.sort(decoder.score([8])[0])[-SELECTED:], np.sort(_again(decoder, 8)))
    decoder.close()


def test_auto(device: DeviceInfo) -> None:
    """What is measured of TopK, on zeros, may leave it on either side."""
    decoder = Decoder(tiny.tiny_decoder("q4m", vocabulary=WORDS, layers=1), threads=1, device="auto")
    logits = decoder.decode(7)
    decoder.truncate(0)
    ids, values = decoder.decode_largest(7)
    np.testing.assert_array_equal(ids, np.sort(np.argsort(-logits, kind="stable")[:SELECTED]))
    np.testing.assert_array_equal(values, logits[ids])
    decoder.close()


def test_where_nothing_is_selected(device: DeviceInfo) -> None:
    model = tiny.tiny_decoder("q4m")
    for decoder in (Decoder(model, threads=1), Decoder(model, threads=1, device=device.spec)):
        assert decoder.selected == 0 and "selected" not in decoder.summary()
        with pytest.raises(InputError, match="use decode"):
            decoder.decode_largest(1)
    assert selected_of(model.info.language.vocabulary) == 0


@pytest.mark.model
@pytest.mark.long
def test_smollm2(asset: Callable[[str], Path], tmp_path: Path, device: DeviceInfo) -> None:
    from edgert.converters.convert import convert

    convert(asset("smollm2-135m"), tmp_path / "m.edge")
    with edgert.LLM(tmp_path / "m.edge", n_ctx=128, device=device.spec) as llm:
        for fields in ({"temperature": 0.0}, {"seed": 1}, {"seed": 2, "temperature": 1.2, "repeat_penalty": 1.1}):
            some = llm.generate("The mill by the river", max_tokens=12, **fields)
            tokens = [token.id for token in some]
            every = llm.generate("The mill by the river", max_tokens=12, logprobs=1, **fields)
            assert tokens == [token.id for token in every]
            assert some.all_logits == "" and every.all_logits == "log-probabilities are wanted"
