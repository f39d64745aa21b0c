"""LLM: a file that answers. Shapes of OpenAI, taking turns, prompts on disk, embeddings, and what goes wrong."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import fakes
import numpy as np
import pytest

import edgert
from edgert.errors import EdgertError, FormatError, InputError, UnsupportedError

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
GREEDY = {"temperature": 0, "max_tokens": 12, "logit_bias": {99: -100}}  # the end of a text does not come by chance


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakes.language_model(tmp_path_factory.mktemp("llm") / "tiny.edge")


@pytest.fixture
def llm(path: Path) -> Iterator[edgert.LLM]:
    with edgert.LLM(path, threads=1) as model:
        yield model


def test_it_says_what_it_is(llm: edgert.LLM) -> None:
    assert (llm.name, llm.n_ctx, llm.info.task) == ("tiny", 96, "text-generation")
    assert "context 96" in llm.summary()
    assert llm.detokenize(llm.tokenize("so it is")) == "so it is"
    assert llm.tokenize("<|end|>") != llm.tokenize("<|end|>", parse_special=True) == [99]


def test_generate(llm: edgert.LLM) -> None:
    generation = llm.generate("the cat", **GREEDY)
    pieces = [event.text for event in generation]
    assert len(generation.tokens) == 12 and generation.finish_reason == "length"
    assert "".join(pieces) == llm.detokenize(generation.tokens)
    again = llm.generate(llm.tokenize("the cat"), **GREEDY)
    assert "".join(event.text for event in again) == "".join(pieces)
    assert (generation.cached_tokens, again.cached_tokens) == (0, 6)


def test_completion(llm: edgert.LLM) -> None:
    answer = llm.create_completion("the cat", seed=4, max_tokens=9, logprobs=2)
    assert answer["object"] == "text_completion" and answer["seed"] == 4
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "length" and len(choice["text"]) <= 9
    assert answer["usage"] == {
        "prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16, "prompt_tokens_details": {"cached_tokens": 0},
    }  # fmt: skip
    assert answer["timings"]["prompt_n"] == 7 and answer["timings"]["predicted_per_second"] > 0
    assert len(choice["logprobs"]["content"]) == 9
    assert all(len(entry["top_logprobs"]) == 2 for entry in choice["logprobs"]["content"])
    assert json.loads(json.dumps(answer)) == answer
    chunks = list(llm.create_completion("the cat", stream=True, seed=4, max_tokens=9))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == choice["text"]


def test_chat_completion(llm: edgert.LLM) -> None:
    answer = llm.create_chat_completion(CHAT, **GREEDY)
    assert answer["object"] == "chat.completion"
    message = answer["choices"][0]["message"]
    assert message["role"] == "assistant"
    prompt = "<|system|>Be brief.\n<|user|>Hello?\n<|assistant|>"
    assert message["content"] == "".join(event.text for event in llm.generate(prompt, **GREEDY))
    assert answer["usage"]["prompt_tokens"] == len(llm.tokenize(prompt, parse_special=True))
    parts = [
        {"role": "system", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
        CHAT[1],
    ]
    assert llm.chat_prompt(parts) == llm.chat_prompt(CHAT)


def test_chat_chunks(llm: edgert.LLM) -> None:
    whole = llm.create_chat_completion(CHAT, **GREEDY)
    chunks = list(llm.create_chat_completion(CHAT, stream=True, logprobs=0, **GREEDY))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""} and deltas[-1] == {}
    assert "".join(delta.get("content", "") for delta in deltas) == whole["choices"][0]["message"]["content"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert chunks[-1]["usage"]["completion_tokens"] == 12
    assert sum(len(chunk["choices"][0]["logprobs"]["content"]) for chunk in chunks) == 12


def test_guessing_changes_nothing(llm: edgert.LLM) -> None:
    prompt = "a b a b a b a b "
    for fields in ({"temperature": 0, "max_tokens": 60}, {"seed": 2, "max_tokens": 60}):
        plain = llm.create_completion(prompt, **fields)
        found = llm.create_completion(prompt, speculative=True, **fields)
        assert found["choices"] == plain["choices"]
        assert found["timings"]["draft_n"] >= found["timings"]["draft_n_accepted"]


def test_seeds(path: Path) -> None:
    with edgert.LLM(path, seed=3) as llm:
        texts = [llm.create_completion("x", max_tokens=20, seed=seed)["choices"][0]["text"] for seed in (None, 3, 4)]
    assert texts[0] == texts[1] != texts[2]


def test_a_form_is_kept_to(llm: edgert.LLM) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    for form in (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}},
        {"json_schema": schema}, {"response_format": {"type": "json_object", "schema": schema}},
    ):  # fmt: skip
        for speculative in (False, True):
            for seed in range(3):
                answer = llm.create_completion("give: ", seed=seed, max_tokens=80, speculative=speculative, **form)
                text = answer["choices"][0]["text"]
                if answer["choices"][0]["finish_reason"] == "stop":
                    assert set(json.loads(text)) == {"n"}
                else:
                    assert text.lstrip().startswith("{")
    assert llm.create_completion("x", regex="(yes|no)")["choices"][0]["text"] in ("yes", "no")
    with pytest.raises(InputError, match="response_format"):
        llm.create_completion("x", response_format={"type": "poem"})
    with pytest.raises(InputError, match="both"):
        llm.create_completion("x", response_format={"type": "json_object"}, json_schema={})


class TestTurns:
    def test_others_wait(self, llm: edgert.LLM) -> None:
        expected = llm.create_completion("one", **GREEDY)["choices"][0]["text"]
        stream = llm.generate("another", **GREEDY)
        next(stream)
        found: list[str] = []
        thread = threading.Thread(
            target=lambda: found.append(llm.create_completion("one", **GREEDY)["choices"][0]["text"])
        )
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and not found
        stream.close()
        thread.join(20)
        assert found == [expected]

    def test_many_threads(self, llm: edgert.LLM) -> None:
        prompts = [f"prompt {i}" for i in range(6)]
        expected = [llm.create_completion(p, **GREEDY)["choices"][0]["text"] for p in prompts]
        found: dict[int, str] = {}

        def ask(i: int) -> None:
            found[i] = llm.create_completion(prompts[i], **GREEDY)["choices"][0]["text"]

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert [found[i] for i in range(6)] == expected

    def test_a_thread_can_not_wait_for_itself(self, llm: edgert.LLM) -> None:
        stream = llm.create_completion("one", stream=True, **GREEDY)
        next(stream)
        with pytest.raises(InputError, match="close"):
            llm.create_completion("two", **GREEDY)
        stream.close()
        llm.create_completion("two", **GREEDY)

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this system")
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_an_interrupted_request_gives_its_turn_back(self, llm: edgert.LLM) -> None:
        """At any instruction: the next one does not wait for ever, is not told that one is open, answers the same."""
        expected = llm.create_completion("one", **GREEDY)["choices"][0]["text"]
        rng = random.Random(3)
        armed = False

        def handler(number: int, frame: object) -> None:
            if armed:
                raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, handler)
        interrupted = 0
        try:
            while interrupted < 150:
                try:
                    try:
                        armed = True
                        # Python passes over what is raised in a finalizer: asked again, until it is heard.
                        signal.setitimer(signal.ITIMER_REAL, rng.random() * 1e-3 + 1e-6, 0.02)
                        while True:
                            llm.create_completion("one", **GREEDY)
                    finally:
                        armed = False
                except KeyboardInterrupt:
                    interrupted += 1
                if interrupted % 10 == 0:
                    assert llm.create_completion("one", **GREEDY)["choices"][0]["text"] == expected
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def test_a_stream_that_is_dropped_gives_its_turn_back(self, llm: edgert.LLM) -> None:
        for _ in llm.create_chat_completion(CHAT, stream=True, **GREEDY):
            break
        llm.create_completion("two", **GREEDY)
        next(llm.generate("one", **GREEDY))
        llm.create_completion("two", **GREEDY)

    def test_closing_ends_an_own_generation(self, path: Path) -> None:
        llm = edgert.LLM(path)
        stream = llm.create_completion("one", stream=True, **GREEDY)
        next(stream)
        llm.close()
        llm.close()
        with pytest.raises(InputError, match="closed"):
            llm.generate("x")

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_child_goes_on(self, llm: edgert.LLM) -> None:
        expected = llm.create_completion("one", **GREEDY)["choices"][0]["text"]
        stream = llm.generate("another", **GREEDY)
        next(stream)
        child = os.fork()
        if child == 0:
            same = llm.create_completion("one", **GREEDY)["choices"][0]["text"] == expected
            os._exit(0 if same else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        stream.close()


class TestSavedPrompts:
    @pytest.mark.parametrize("kv", ["f16", "int8"])
    def test_they_spare_computing(self, path: Path, tmp_path: Path, kv: str) -> None:
        prompt = "a prompt that takes long to read: "
        with edgert.LLM(path, kv=kv) as llm:
            expected = llm.create_completion(prompt + "and?", **GREEDY)["choices"]
            assert llm.save_prompt(tmp_path / "p", prompt) == len(prompt)
        with edgert.LLM(path, kv=kv, n_ctx=64) as llm:
            assert llm.load_prompt(tmp_path / "p") == len(prompt)
            answer = llm.create_completion(prompt + "and?", **GREEDY)
            assert answer["choices"] == expected
            assert answer["timings"]["cache_n"] == len(prompt)
        other = {"kv": "f16" if kv == "int8" else "int8"}
        for options in (other, {"kv": kv, "activations": "int16"}):
            with edgert.LLM(path, **options) as llm, pytest.raises(FormatError, match="options"):
                llm.load_prompt(tmp_path / "p")
        with edgert.LLM(path, kv=kv, n_ctx=16) as llm, pytest.raises(InputError, match="n_ctx"):
            llm.load_prompt(tmp_path / "p")

    def test_all_that_is_held(self, llm: edgert.LLM, tmp_path: Path) -> None:
        answer = llm.create_completion("one two", **GREEDY)
        held = llm.save_prompt(tmp_path / "p")
        assert held == 7 + 11
        llm.create_completion("three", **GREEDY)
        assert llm.load_prompt(tmp_path / "p") == held
        text = "one two" + answer["choices"][0]["text"]
        assert llm.create_completion(text, **GREEDY)["timings"]["cache_n"] >= held - 1

    def test_another_model(self, llm: edgert.LLM, tmp_path: Path) -> None:
        other = fakes.language_model(tmp_path / "other.edge", template="")
        llm.save_prompt(tmp_path / "p", "text")
        with edgert.LLM(other) as second, pytest.raises(FormatError, match="another"):
            second.load_prompt(tmp_path / "p")


@pytest.fixture
def encoder(tmp_path: Path) -> Iterator[edgert.LLM]:
    with edgert.LLM(fakes.embedding_model(tmp_path / "embed.edge")) as model:
        yield model


class TestEmbeddings:
    def test_vectors(self, encoder: edgert.LLM) -> None:
        one, same, other = encoder.embed(["some words", "some words", "QQQ"])
        assert one.shape == (8,) and one.dtype == np.float32
        assert np.array_equal(one, same) and one @ other < 0.99
        assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
        assert np.array_equal(encoder.embed("some words"), one[None])

    def test_wrong_use(self, encoder: edgert.LLM, llm: edgert.LLM) -> None:
        with pytest.raises(UnsupportedError, match="embed"):
            encoder.create_completion("x")
        with pytest.raises(UnsupportedError, match="encoder"):
            llm.embed("x")
        with pytest.raises(InputError, match="shorten"):
            encoder.embed("x" * 65)
        with pytest.raises(InputError):
            encoder.embed([])
        assert encoder.n_ctx == 64 and "cpu" in encoder.summary()


class TestErrors:
    def test_fields(self, llm: edgert.LLM) -> None:
        for fields, word in (
            ({"temprature": 1}, "temprature"), ({"top_p": 3}, "top_p"), ({"max_tokens": 500}, "larger n_ctx"),
            ({"stop": [""]}, "stop"), ({"stop": [3]}, "stop"), ({"logit_bias": {"cat": 1}}, "logit_bias"),
            ({"logit_bias": [1]}, "logit_bias"),
        ):  # fmt: skip
            with pytest.raises(InputError, match=word):
                llm.generate("x", **fields)
        llm.create_completion("x", max_tokens=2, logit_bias={"5": -100}, stop=None, temperature=None)

    def test_prompts(self, llm: edgert.LLM) -> None:
        for prompt in ("", "x" * 96, [], [100], [-1]):
            with pytest.raises(InputError):
                llm.create_completion(prompt, max_tokens=1)
        for messages in ([], "hello", [{"content": "x"}], [{"role": "user", "content": [{"image": 1}]}], [3]):
            with pytest.raises(InputError):
                llm.create_chat_completion(messages)

    def test_a_model_without_its_parts(self, tmp_path: Path, default_model) -> None:
        wrong = (
            ({"tokenizer": False}, UnsupportedError, "tokenizer"),
            ({"template": ""}, UnsupportedError, "chat template"),
            ({"template": "{{ messages.__class__ }}"}, EdgertError, "template"),
        )  # fmt: skip
        for i, (parts, kind, word) in enumerate(wrong):
            llm = edgert.LLM(fakes.language_model(tmp_path / f"{i}.edge", **parts))
            with pytest.raises(kind, match=word):
                llm.create_chat_completion(CHAT)
        with edgert.LLM(tmp_path / "1.edge", chat_template=fakes.TEMPLATE) as llm:
            llm.create_chat_completion(CHAT, max_tokens=1)
        with pytest.raises(UnsupportedError, match="language model"):
            edgert.LLM(default_model("f32"))

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(FormatError, match="no such file"):
            edgert.LLM(tmp_path / "none.edge")
