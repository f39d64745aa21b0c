"""Talks with a language model in the terminal, or answers one question. Meant to be copied and changed.

python -m edgert.apps.chat model.edge                              a conversation, until Ctrl-D
python -m edgert.apps.chat model.edge "Name three fruits."         one answer
python -m edgert.apps.chat model.edge --system "You are a pirate." --temperature 0.3
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator

import edgert
from edgert.errors import EdgertError

RESERVE = 256
"""Tokens of the context that stay free for an answer; older messages give way to them."""


class Chat:
    """A conversation: the messages so far and the model that goes on with them."""

    def __init__(self, model: str, system: str = "", temperature: float = 0.8) -> None:
        self.llm = edgert.LLM(model)
        self.system = [{"role": "system", "content": system}] if system else []
        self.messages: list[dict[str, str]] = []
        self.temperature = temperature
        self.speed = 0.0

    def __call__(self, text: str) -> Generator[str, None, None]:
        """The answer to `text`, piece by piece. The model keeps what it has read: a long conversation costs no more
        than its last message. Leaving the loop early stops the model, and keeps what was said."""
        self.messages.append({"role": "user", "content": text})
        while len(self.messages) > 1 and self.tokens() > self.llm.n_ctx - RESERVE:
            del self.messages[:2]  # the oldest question and its answer
        answer = {"role": "assistant", "content": ""}
        stream = self.llm.create_chat_completion(self.system + self.messages, stream=True, temperature=self.temperature)
        try:
            for chunk in stream:
                piece = chunk["choices"][0]["delta"].get("content", "")
                answer["content"] += piece
                yield piece
                if "timings" in chunk:  # the last one
                    self.speed = chunk["timings"]["predicted_per_second"]
        finally:
            stream.close()
            self.messages.append(answer)

    def tokens(self) -> int:
        """How much of the context the conversation takes."""
        return len(self.llm.chat_prompt(self.system + self.messages))


def say(chat: Chat, text: str) -> None:
    """Prints the answer as it comes; Ctrl-C ends it."""
    answer = chat(text)
    try:
        for piece in answer:
            print(piece, end="", flush=True)
        print(f"\n[{chat.speed:.0f} tokens/s]", file=sys.stderr)
    except KeyboardInterrupt:
        answer.close()
        print("\n[stopped]", file=sys.stderr)
    print(flush=True)


def main(argv: list[str] | None = None) -> int:
    """0, or 1 when something could not be answered, 2 for wrong use."""
    parser = argparse.ArgumentParser(prog="chat", description="Talk with a language model.")
    parser.add_argument("model", help="a .edge file of a language model with a chat template")
    parser.add_argument("question", nargs="?", help="answer this and end")
    parser.add_argument("--system", default="", metavar="TEXT", help="what the model is told before")
    parser.add_argument("--temperature", type=float, default=0.8, metavar="T", help="0: always the best token")
    options = parser.parse_args(argv)
    try:
        chat = Chat(options.model, options.system, options.temperature)
        print(chat.llm.summary(), file=sys.stderr)
        if options.question is not None:
            say(chat, options.question)
            return 0
        while True:
            try:
                text = input("> ")
            except (EOFError, KeyboardInterrupt):
                return 0
            if text.strip():
                say(chat, text)
    except EdgertError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
