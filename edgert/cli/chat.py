"""`edgert chat`: a conversation in the terminal.

The work is edgert/llm; a smaller program to copy from is apps/chat.py.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from edgert.cli.common import file_argument, say
from edgert.cli.language import fields_of, model_options, open_model, read_text, request_options, show, timings_line
from edgert.errors import EdgertError, InputError
from edgert.llm.llm import LLM

HELP = """\
/reset        forget the conversation
/save FILE    write it, to go on with `edgert chat --history FILE`
/help         this
/quit         end, as Ctrl-D does
Ctrl-C stops an answer. A line that ends in \\ goes on in the next; \"\"\" begins and ends a text of several lines."""

Message = dict[str, str]
Reader = Callable[[str], str]
"""input(), or something like it."""


@click.command(short_help="Talk with a language model in the terminal.")
@file_argument
@click.option("--system", metavar="TEXT", help="What the model is told before the conversation.")
@click.option("--history", type=click.Path(), metavar="FILE", help="A conversation to go on with, from /save.")
@click.option("--chat-template", metavar="chatml|FILE", default="", help="In place of the model's own.")
@click.option("-n", "--max-tokens", type=int, help="Tokens of an answer at most; default: what the context holds.")
@request_options
@model_options
def command(
    file: str, system: str | None, history: str | None, chat_template: str, max_tokens: int | None, **given: Any
) -> None:
    """Talk with the language model FILE; /help says what else there is. What is piped in is answered line by line.

    \b
    edgert chat model.edge
    edgert chat model.edge --system "Answer in one sentence." --temp 0.2
    """
    template = chat_template if chat_template in ("", "chatml") else read_text(chat_template)
    fields = {**fields_of(given), "max_tokens": max_tokens}
    before = load_history(history) if history is not None else []
    if system is not None:
        before = [{"role": "system", "content": system}, *(m for m in before if m["role"] != "system")]
    with open_model(file, given, chat_template=template) as llm:
        llm.chat_prompt([*before, {"role": "user", "content": "?"}])  # a model without a template is said at once
        say(llm.summary())
        Conversation(llm, before, fields, verbose=given["verbose"]).run(reader())


def reader() -> Reader:
    """Lines with editing and history in a terminal, plain ones otherwise."""
    if not sys.stdin.isatty():
        return lambda prompt: plain_line()
    with suppress(ImportError):  # not on every system
        import_module("readline")  # gives input() editing and history
    say("/help says what there is")
    return input


def plain_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


class Conversation:
    """Messages, and what is typed to go on with them."""

    def __init__(self, llm: LLM, before: list[Message], fields: dict[str, Any], *, verbose: bool = False) -> None:
        self.llm, self.fields, self.verbose = llm, fields, verbose
        self.messages = list(before)
        self._system = [message for message in before if message["role"] == "system"]

    def run(self, read: Reader) -> None:
        """Until /quit or the end of input."""
        while True:
            try:
                text = read_message(read)
            except EOFError:
                return
            except KeyboardInterrupt:
                say("\n/quit or Ctrl-D ends")
                continue
            try:
                if text.startswith("/") and "\n" not in text:
                    if not self.obey(text):
                        return
                elif text.strip():
                    self.answer(text)
            except EdgertError as error:
                say(f"error: {error}")

    def obey(self, text: str) -> bool:
        """A command; False to end."""
        word, _, rest = text.partition(" ")
        if word == "/reset":
            self.messages = list(self._system)
            say("forgotten")
        elif word == "/save":
            self.save(rest.strip())
        elif word in ("/quit", "/exit"):
            return False
        else:
            say(HELP if word == "/help" else f"{word} is no command\n{HELP}")
        return True

    def save(self, name: str) -> None:
        if not name:
            raise InputError("expected /save FILE, found no name")
        try:
            Path(name).expanduser().write_text(json.dumps(self.messages, indent=1, ensure_ascii=False) + "\n", "utf-8")
        except OSError as error:
            raise InputError(f"{name}: cannot write the conversation: {error.strerror}") from error
        say(f"saved {name}")

    def answer(self, text: str) -> None:
        """Adds `text` and the answer to it, shown as it comes."""
        question: Message = {"role": "user", "content": text}
        self.make_room(question)
        stream = self.llm.create_chat_completion([*self.messages, question], stream=True, **self.fields)
        said, last = "", None
        try:
            for last in stream:
                piece = last["choices"][0]["delta"].get("content", "")
                said += piece
                show(piece)
        except KeyboardInterrupt:
            last = None
        finally:
            stream.close()
        click.echo()
        if said:
            self.messages += [question, {"role": "assistant", "content": said}]
        if last is None:
            say("[stopped]")
        else:
            full = ", the limit is reached" if last["choices"][0]["finish_reason"] == "length" else ""
            seed = f", seed {last['seed']}" if self.verbose else ""
            say(f"[{timings_line(last['timings'])}{full}{seed}]")

    def make_room(self, question: Message) -> None:
        """Drops the oldest exchanges until an answer has a quarter of the context."""
        size = self.llm.n_ctx
        dropped = 0
        while len(self.llm.chat_prompt([*self.messages, question])) > size - size // 4:
            start = len(self._system)
            if len(self.messages) < start + 2:
                break
            del self.messages[start : start + 2]
            dropped += 1
        if dropped:
            say(f"[the context of {size} tokens is full: forgot the oldest {dropped} exchanges]")


def read_message(read: Reader) -> str:
    """What is typed: a line, or several. Raises EOFError at the end of input."""
    line = read("> ")
    if line.strip().startswith('"""'):
        lines = [line.strip()[3:]]
        while not lines[-1].rstrip().endswith('"""'):
            lines.append(read(". "))
        lines[-1] = lines[-1].rstrip()[:-3]
        return "\n".join(lines).strip("\n")
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(read(". "))
    return "\n".join(lines)


def load_history(path: str) -> list[Message]:
    """Messages from /save. Raises InputError."""
    try:
        messages = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a conversation from /save, found no JSON ({str(error)[:80]})") from None
    right = isinstance(messages, list) and all(
        isinstance(m, dict) and set(m) == {"role", "content"} and all(isinstance(v, str) for v in m.values())
        for m in messages
    )
    if not right:
        raise InputError(f"{path}: expected a list of {{'role': ..., 'content': ...}}, found something else")
    return list(messages)
