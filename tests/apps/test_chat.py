"""The chat app: a conversation, one answer, and what goes wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "llm"))
import fakes

from edgert.apps.chat import Chat, main


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(fakes.language_model(tmp_path_factory.mktemp("chat") / "tiny.edge"))


@pytest.fixture(autouse=True)
def reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model's context is less than what the app leaves free for an answer."""
    monkeypatch.setattr("edgert.apps.chat.RESERVE", 40)


def test_the_model_reads_a_conversation_once(path: str) -> None:
    chat = Chat(path, "", 0.0)
    chat.llm._model.info.language.eos[:] = []
    answers = []
    for text in ("one", "two"):
        stream = chat(text)
        answers.append("".join(piece for piece, _ in zip(stream, range(4), strict=False)))
        stream.close()  # as Ctrl-C does
    assert [m["content"] for m in chat.messages][::2] == ["one", "two"]
    assert [m["role"] for m in chat.messages] == ["user", "assistant"] * 2
    assert all(m["content"].startswith(text) for m, text in zip(chat.messages[1::2], answers, strict=True))


def test_old_messages_give_way(path: str) -> None:
    chat = Chat(path, "", 0.0)
    chat.llm._model.info.language.eos[:] = []  # answers as long as the context allows
    for _ in range(4):
        list(chat("a question"))
    assert len(chat.messages) < 8
    chat.messages.pop()  # the last answer: what it answers left it room
    assert chat.tokens() <= chat.llm.n_ctx - 40


def test_main(path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main([path, "one question", "--temperature", "0"]) == 0
    assert "tokens/s]" in capsys.readouterr().err
    lines = iter(["", "hello"])

    def read(prompt: str) -> str:
        line = next(lines, None)
        if line is None:
            raise EOFError
        return line

    monkeypatch.setattr("builtins.input", read)
    assert main([path]) == 0
    assert capsys.readouterr().err.count("tokens/s]") == 1


def test_errors_are_one_line(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.edge"), "x"]) == 1
    assert main([path, "x" * 200]) == 2
    err = capsys.readouterr().err
    assert err.count("error: ") == 2 and "Traceback" not in err
