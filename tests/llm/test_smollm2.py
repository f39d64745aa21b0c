"""SmolLM2-135M: what it knows; guesses, prefixes, saved prompts and streams change nothing of what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import edgert

pytestmark = pytest.mark.model

TEXT = (
    "The river was high that spring, and the old bridge at Lowell had been closed since March. Mr. Harris, who owned "
    "the mill, walked down every morning to look at the water. It will hold, he said to his daughter Anna. It has "
    "held for sixty years. Anna was not so sure. She had read the letter from the engineer in Boston, who wrote that "
    "the bridge should be taken down before the summer."
)
EDIT = [{"role": "user", "content": f"Correct the spelling of this text. Give the whole text.\n\n{TEXT}"}]
GREEDY = {"temperature": 0.0, "max_tokens": 100}


@pytest.fixture(scope="module")
def llm(asset: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[edgert.LLM]:
    from edgert.converters.convert import convert

    path = tmp_path_factory.mktemp("smollm2") / "smollm2.edge"
    convert(asset("smollm2-135m"), path)
    with edgert.LLM(path, n_ctx=1024) as model:
        yield model


def fresh(llm: edgert.LLM) -> None:
    """Forgets everything that was read."""
    llm._context.truncate(0)


def test_the_capital_of_france(llm: edgert.LLM) -> None:
    text = llm.create_completion("The capital of France is", **GREEDY)["choices"][0]["text"]
    assert text.startswith(" Paris")


def test_guessing_gives_the_same_text_in_fewer_runs(llm: edgert.LLM) -> None:
    for fields in (GREEDY, {"seed": 5, "max_tokens": 100, "repeat_penalty": 1.05}):
        plain = llm.create_chat_completion(EDIT, **fields)
        found = llm.create_chat_completion(EDIT, speculative=True, **fields)
        assert found["choices"] == plain["choices"]
        timings = found["timings"]
        assert 0 <= timings["draft_n_accepted"] <= timings["draft_n"]
        if fields is GREEDY:
            assert timings["draft_n_accepted"] > 30


def test_a_prefix_that_is_not_computed_again(llm: edgert.LLM) -> None:
    fresh(llm)
    first = llm.create_chat_completion(EDIT, **GREEDY)
    again = llm.create_chat_completion(EDIT, **GREEDY)
    assert again["choices"] == first["choices"]
    assert again["timings"]["prompt_n"] == 1 and first["timings"]["cache_n"] == 0
    longer = [*EDIT, first["choices"][0]["message"], {"role": "user", "content": "Thank you. Say it in one sentence."}]
    from_cache = llm.create_chat_completion(longer, **GREEDY)
    fresh(llm)
    assert llm.create_chat_completion(longer, **GREEDY)["choices"] == from_cache["choices"]
    assert from_cache["timings"]["cache_n"] > first["usage"]["prompt_tokens"]


def test_a_saved_prompt(llm: edgert.LLM, tmp_path: Path) -> None:
    prompt = llm.chat_prompt(EDIT)
    fresh(llm)
    expected = llm.create_completion(prompt, **GREEDY)
    assert llm.save_prompt(tmp_path / "edit.prompt", prompt) == len(prompt)
    fresh(llm)
    assert llm.load_prompt(tmp_path / "edit.prompt") == len(prompt)
    found = llm.create_completion(prompt, **GREEDY)
    assert found["choices"] == expected["choices"] and found["timings"]["prompt_n"] == 1


def test_streams_join_to_the_whole(llm: edgert.LLM) -> None:
    messages = [{"role": "user", "content": "Write “naïve café” in Japanese, Greek and with emoji 🙂."}]
    for seed in range(3):
        fields = {"seed": seed, "temperature": 1.5, "max_tokens": 60}
        whole = llm.create_chat_completion(messages, **fields)
        chunks = list(llm.create_chat_completion(messages, stream=True, **fields))
        pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
        assert "".join(pieces) == whole["choices"][0]["message"]["content"]
        tokens = list(llm.generate(llm.chat_prompt(messages), **fields))
        assert "".join(token.text for token in tokens) == "".join(pieces)


def test_the_context_moves_on(llm: edgert.LLM) -> None:
    """Shifting is exact: the same as a new start with what is left."""
    path = llm._path
    with edgert.LLM(path, n_ctx=64) as small:
        prompt = small.tokenize("Once upon a time there was a")
        generation = small.generate(
            prompt, temperature=0, max_tokens=80, on_overflow="shift", keep=1, logit_bias={2: -100}
        )
        tokens = [token.id for token in generation]
        assert generation.shifts == 1 and len(tokens) == 80
        whole = [*prompt, *tokens]
        kept = whole[:1] + whole[1 + 63 // 2 : 65]  # what followed when the 65th token did not fit
        small._context.truncate(0)
        rest = [token.id for token in small.generate(kept, temperature=0, max_tokens=20, logit_bias={2: -100})]
        assert rest == whole[65 : 65 + 20]


RAM = 48 << 20
BESIDE = 8 << 20
"""Bytes beside a budget: the header of the file and its objects (5 MB for this one), records of programs as Python
objects, and what allocators keep. 4 to 5 MB were measured."""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/status")
@pytest.mark.parametrize("threads", [1, 2])
def test_within_48_megabytes_it_says_the_same(llm: edgert.LLM, threads: int) -> None:
    """Half of the file: prefill and greedy decoding give the tokens of the mapped model, and the process stays within
    the budget and BESIDE."""
    prompt = llm.chat_prompt(EDIT)
    plain = [token.id for token in llm.generate(prompt, temperature=0, max_tokens=24)]
    with edgert.LLM(llm._path, n_ctx=512, ram=RAM, threads=threads) as small:
        found = [token.id for token in small.generate(prompt, temperature=0, max_tokens=24)]
        assert found == plain and small.streamed is not None
        assert small._decoder is not None
        chunk = small._decoder.plan("prefill").inputs["tokens"].type.numel
        assert small.streamed.statistics.laps == -(-(len(prompt) - 1) // chunk) + len(plain)
    child = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "streamed_child.py"), str(llm._path), str(RAM), str(threads),
         ",".join(map(str, prompt)), str(len(plain))],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    answer = json.loads(child.stdout)
    assert answer["tokens"] == plain
    assert answer["planned"] <= RAM and answer["streamed"] > 40 << 20, answer["summary"]
    assert answer["peak"] - answer["before"] <= RAM + BESIDE, answer


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/status")
def test_a_generation_that_is_trimmed_gives_memory_back_and_goes_on(llm: edgert.LLM) -> None:
    prompt = llm.chat_prompt(EDIT)
    plain = [token.id for token in llm.generate(prompt, temperature=0, max_tokens=24)]
    child = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "trimmed_child.py"), str(llm._path),
         ",".join(map(str, prompt)), str(len(plain))],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    answer = json.loads(child.stdout)
    assert answer["tokens"] == plain
    assert answer["before"] - answer["trimmed"] > 70 << 20, "most of what the weights take"
    assert answer["after"] - answer["trimmed"] < answer["kept"], answer["summary"]


def test_json(llm: edgert.LLM) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"], "additionalProperties": False,
    }  # fmt: skip
    messages = [{"role": "user", "content": "Invent a person."}]
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
    answer = llm.create_chat_completion(messages, response_format=form, **GREEDY)
    found = json.loads(answer["choices"][0]["message"]["content"])
    assert set(found) == {"name", "age"} and answer["choices"][0]["finish_reason"] == "stop"
