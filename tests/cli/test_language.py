"""The subcommands for language models, on tiny random ones: what they print, and one clear line where they can not."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "llm"))
import fakes

from edgert.cli import chat
from edgert.cli.main import main
from edgert.llm.llm import LLM

NO_END = ["--logit-bias", "99=-100"]  # the end of a text does not come by chance


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(fakes.language_model(tmp_path_factory.mktemp("cli") / "tiny.edge"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(fakes.embedding_model(tmp_path_factory.mktemp("cli") / "embed.edge"))


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch):
    """`piped(text)` is what the next command reads."""

    def give(text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))

    return give


def out_of(capsys: pytest.CaptureFixture[str], words: Iterable[object]) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def fails(capsys: pytest.CaptureFixture[str], words: Iterable[object], code: int = 2) -> str:
    """The only error line of a command that fails with `code`."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("cpu ", "compil"))]
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


class TestGenerate:
    def test_text_on_stdout_the_rest_on_stderr(self, path, capsys) -> None:
        assert main(["generate", path, "-p", "the cat", "-n", "12", "--temp", "0", "-v", *NO_END]) == 0
        captured = capsys.readouterr()
        with LLM(path) as llm:
            generation = llm.generate("the cat", max_tokens=12, temperature=0, logit_bias={99: -100})
            assert captured.out == "".join(event.text for event in generation) + "\n"
        first, last, more = (line for line in captured.err.splitlines() if not line.startswith("compil"))
        assert "ended by length" in more
        assert first.startswith("cpu ") and "context 96" in first
        assert "prompt 7 tokens" in last and "answer 12 tokens" in last

    def test_json(self, path, capsys) -> None:
        words = ["generate", path, "-p", "a b a b a b", "-n", 20, "--seed", 5, "--json", *NO_END]
        found = json.loads(out_of(capsys, words))
        assert len(found["tokens"]) == 20 and found["seed"] == 5 and found["finish_reason"] == "length"
        again = json.loads(out_of(capsys, [*words, "--speculative"]))
        assert again["text"] == found["text"] and "draft_n" in again["timings"]

    def test_prompts(self, path, capsys, piped, tmp_path) -> None:
        options = ["-n", 6, "--temp", 0, *NO_END]
        expected = out_of(capsys, ["generate", path, "-p", "some words", *options])
        (tmp_path / "prompt.txt").write_text("some words")
        assert out_of(capsys, ["generate", path, "-f", tmp_path / "prompt.txt", *options]) == expected
        piped("some words")
        assert out_of(capsys, ["generate", path, *options]) == expected
        piped(b"\xff\xfe")
        assert "UTF-8" in fails(capsys, ["generate", path])

    def test_a_cached_prompt(self, path, capsys, tmp_path) -> None:
        cache = tmp_path / "p.prompt"
        words = [
            "generate",
            path,
            "-p",
            "a long prompt",
            "-n",
            6,
            "--temp",
            0,
            "--json",
            "--prompt-cache",
            cache,
            *NO_END,
        ]
        first = json.loads(out_of(capsys, words))
        second = json.loads(out_of(capsys, words))
        assert first["text"] == second["text"]
        assert [run["timings"]["cache_n"] for run in (first, second)] == [0, 12]
        cache.write_bytes(cache.read_bytes()[:-1])
        assert str(cache) in fails(capsys, words, 1)

    def test_limits(self, path, capsys, tmp_path) -> None:
        assert len(json.loads(out_of(capsys, ["generate", path, "-p", "x", "--json", *NO_END]))["tokens"]) == 95
        shifted = ["generate", path, "-p", "x", "-n", 150, "--on-overflow", "shift", "--keep", 1, "--json", *NO_END]
        assert json.loads(out_of(capsys, shifted))["timings"]["context_shifts"] >= 1
        assert "n_ctx" in fails(capsys, ["generate", path, "-p", "x" * 96])
        assert "n_ctx" in fails(capsys, ["generate", path, "-p", "x", "-n", 200])
        assert "n_ctx" in fails(capsys, ["generate", path, "-p", "x", "-c", 97])

    def test_stops_and_forms(self, path, capsys, tmp_path) -> None:
        text = out_of(capsys, ["generate", path, "-p", "x", "-n", 20, "--temp", 0, *NO_END]).removesuffix("\n")
        stop = text[5:7]
        cut = out_of(capsys, ["generate", path, "-p", "x", "-n", 20, "--temp", 0, "--stop", stop, *NO_END])
        assert cut == text[: text.index(stop)] + "\n"
        pytest.importorskip("llguidance")
        assert out_of(capsys, ["generate", path, "-p", "x", "--regex", "(yes|no)"]) in ("yes\n", "no\n")
        grammar = tmp_path / "g.lark"
        grammar.write_text('start: "maybe"')
        assert out_of(capsys, ["generate", path, "-p", "x", "--grammar", grammar]) == "maybe\n"
        schema = tmp_path / "s.json"
        schema.write_text('{"enum": ["a", "b"]}')
        for given in (schema, schema.read_text()):
            assert out_of(capsys, ["generate", path, "-p", "x", "--json-schema", given]) in ('"a"\n', '"b"\n')
        assert "regex" in fails(capsys, ["generate", path, "-p", "x", "--regex", "("], 1)

    def test_wrong_use(self, path, encoder, capsys, tmp_path, default_model) -> None:
        for words, code, part in (
            ((path, "-p", ""), 2, "no tokens"),
            ((path, "-p", "x", "-f", "y"), 2, "both"),
            ((path, "-p", "x", "--top-p", 2), 2, "top_p"),
            ((path, "-p", "x", "--logit-bias", "cat"), 2, "--logit-bias"),
            ((path, "-p", "x", "--device", "tpu"), 2, "tpu"),
            ((path, "-f", tmp_path / "none"), 1, "none"),
            ((encoder, "-p", "x"), 1, "embeds"),
            ((default_model("f32"), "-p", "x"), 1, "language model"),
            ((fakes.language_model(tmp_path / "bare.edge", tokenizer=False), "-p", "x"), 1, "tokenizer"),
        ):
            assert part in fails(capsys, ["generate", *words], code)


class TestChat:
    def test_a_conversation(self, path, capsys, piped, tmp_path) -> None:
        saved = tmp_path / "talk.json"
        piped(f'One.\n/reset\n"""two\nlines"""\nand \\\nmore\n/save {saved}\n/help\n/none\n/quit\nnever read\n')
        assert main(["chat", path, "-n", "3", "--system", "Go.", *NO_END]) == 0
        captured = capsys.readouterr()
        messages = json.loads(saved.read_text())
        assert [m["content"] for m in messages if m["role"] != "assistant"] == ["Go.", "two\nlines", "and \nmore"]
        assert [m["role"] for m in messages] == ["system", "user", "assistant", "user", "assistant"]
        assert captured.out.endswith(messages[-1]["content"] + "\n")
        for words in ("forgotten", "saved", "/none is no command", "answer 3 tokens", "from the cache"):
            assert words in captured.err
        piped("more?\n")
        assert main(["chat", path, "-n", "3", "--history", str(saved), "--seed", "1", *NO_END]) == 0

    def test_the_oldest_gives_way(self, path, capsys, piped) -> None:
        piped("a question of some length\n" * 6)
        assert main(["chat", path, "-n", "5", *NO_END]) == 0
        assert "forgot the oldest" in capsys.readouterr().err
        piped("x" * 200 + "\nshort\n")
        assert main(["chat", path, "-n", "5", *NO_END]) == 0
        captured = capsys.readouterr()
        assert captured.err.count("error: ") == 1 and "answer 5 tokens" in captured.err

    def test_ctrl_c_stops_the_answer_alone(self, path, capsys, monkeypatch) -> None:
        real, calls = LLM.create_chat_completion, []

        def interrupted(self, *given, **more):
            calls.append(1)
            for index, chunk in enumerate(real(self, *given, **more)):
                if index == 4 and len(calls) == 1:
                    raise KeyboardInterrupt
                yield chunk

        monkeypatch.setattr(LLM, "create_chat_completion", interrupted)
        with LLM(path) as llm:
            talk = chat.Conversation(llm, [], {"max_tokens": 8, "logit_bias": {99: -100}})
            lines = iter(["one", KeyboardInterrupt(), "two"])

            def read(prompt: str) -> str:
                line = next(lines, EOFError())
                if isinstance(line, BaseException):
                    raise line
                return line

            talk.run(read)
        assert [m["content"] for m in talk.messages if m["role"] == "user"] == ["one", "two"]
        err = capsys.readouterr().err
        assert "[stopped]" in err and "Ctrl-D ends" in err and "answer 8 tokens" in err

    def test_wrong_use(self, path, encoder, capsys, piped, tmp_path) -> None:
        piped("")
        bare = fakes.language_model(tmp_path / "bare.edge", template="")
        assert "chat template" in fails(capsys, ["chat", bare], 1)
        (tmp_path / "h.json").write_text('{"role": "user"}')
        assert "h.json" in fails(capsys, ["chat", path, "--history", tmp_path / "h.json"])
        assert main(["chat", str(bare), "--chat-template", "chatml"]) == 0


class TestPerplexity:
    def test_numbers(self, path, capsys, tmp_path) -> None:
        text = tmp_path / "text.txt"
        text.write_text("it is a truth universally acknowledged, " * 5)
        found = json.loads(out_of(capsys, ["perplexity", path, text, "--window", 64, "--json"]))
        assert (found["windows"], found["tokens"], found["text_tokens"]) == (3, 3 * 31, 200)
        assert 1 < found["perplexity"] < 1e4
        line = out_of(capsys, ["perplexity", path, text, "--window", 64, "--limit", 100])
        assert line.startswith("perplexity ") and "1 windows of 64" in line
        assert "at least one window" in fails(capsys, ["perplexity", path, text, "--window", 64, "--limit", 10])
        assert "n_ctx" in fails(capsys, ["perplexity", path, text])


class TestEmbed:
    def test_vectors_and_similarity(self, encoder, capsys, piped) -> None:
        found = json.loads(out_of(capsys, ["embed", encoder, "one", "one", "QQ", "--json"]))
        assert len(found["embeddings"]) == 3 and found["similarity"][0][1] == pytest.approx(1, abs=1e-5)
        assert len(out_of(capsys, ["embed", encoder, "one"]).split()) == 8
        piped("one\n\nQQ\n")
        assert out_of(capsys, ["embed", encoder]).endswith("  one | QQ\n")

    def test_wrong_use(self, path, encoder, capsys, piped) -> None:
        piped("")
        assert "no" in fails(capsys, ["embed", encoder])
        assert "generates text" in fails(capsys, ["embed", path, "x"], 1)


class TestOthers:
    def test_bench(self, path, capsys, tmp_path) -> None:
        words = ["bench", path, "--threads", "1,2", "--runs", 2, "--prompt", 20, "--gen", 5]
        found = json.loads(out_of(capsys, [*words, "--json", "--ops"]))
        assert [(row["threads"], row["test"]) for row in found["results"]] == [
            (1, "pp20"), (2, "pp20"), (1, "tg5"), (2, "tg5"),
        ]  # fmt: skip
        assert all(row["tokens_per_second"] > 0 and len(row["samples"]) == 2 for row in found["results"])
        assert len(found["profiles"]) == 2 and found["profiles"][0]["ops"]
        lines = out_of(capsys, [*words, "--trace", tmp_path / "trace.json"]).splitlines()
        assert len(lines) == 6 and all(line.startswith("| ") for line in lines) and "±" in lines[-1]
        assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        assert len(out_of(capsys, ["bench", path, "--runs", 1, "--prompt", 0, "--gen", 3]).splitlines()) == 3

    def test_inspect_plans_each_mode(self, path, capsys) -> None:
        for mode in ("decode", "few", "prefill", "score"):
            assert "predicted" in out_of(capsys, ["inspect", path, "--plan", "--mode", mode, "--shape", "C=48"])
        found = json.loads(out_of(capsys, ["inspect", path, "--plan", "--json"]))
        assert found["plan"]["steps"]
        assert "n_ctx" in fails(capsys, ["inspect", path, "--plan", "--shape", "C=5000"])

    def test_run_says_what_to_use(self, path, encoder, capsys) -> None:
        assert "edgert chat" in fails(capsys, ["run", path, "x.png"], 1)
        assert "edgert perplexity" in fails(capsys, ["eval", path, "x"], 1)
        assert "edgert embed" in fails(capsys, ["run", encoder, "x.png"], 1)
