"""Chat templates: messages become the text a chat model was trained on, by the Jinja template stored with it.
What a template may do is bounded by `sandbox.py`; the text becomes tokens in `tokenizer.py`."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn

from edgert.errors import FormatError, InputError, UnsupportedError

if TYPE_CHECKING:
    from edgert.format.model import Model
    from edgert.llm.tokenizer import Tokenizer

HINT = "pip install 'edgert[llm]'"

MAX_TEMPLATE = 1 << 17
"""Characters of a template. The longest published ones have some 20,000; compiling takes time in proportion."""

MAX_MESSAGES = 1 << 24
"""Characters in all messages and tools: more than any context holds."""

WORK = 1 << 24
"""Characters that a template may make, steps counted as in `sandbox.py`, besides INPUT_WORK for each it is given."""
INPUT_WORK = 32

SECONDS = 5.0
"""Templates take milliseconds; one that is still busy then will not end."""

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The form many models share, for those that bring no template and are known to use it."""

TEMPLATE_HINT = "give another template"


class ChatTemplate:
    """A compiled template, as Hugging Face's `apply_chat_template` runs them. Safe to share between threads."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        """`source` is Jinja; the tokens are as they are spelled in the vocabulary.

        Raises FormatError, naming the line, if it is not a template.
        """
        try:
            from jinja2 import TemplateSyntaxError

            from edgert.llm.sandbox import TemplateEnvironment
        except ImportError:
            raise UnsupportedError(f"chat templates need the jinja2 package, which is not installed; {HINT}") from None
        if len(source) > MAX_TEMPLATE:
            expected = f"a chat template of at most {MAX_TEMPLATE} characters"
            raise FormatError(None, None, expected, str(len(source)), TEMPLATE_HINT)
        self.source, self._tokens = source, {"bos_token": bos_token, "eos_token": eos_token}
        self._environment = TemplateEnvironment()
        self._lock = Lock()
        try:
            self._template = self._environment.from_string(source)
        except TemplateSyntaxError as error:
            found = f"an error in line {error.lineno}: {str(error.message)[:200]}"
            raise FormatError(None, None, "a chat template in Jinja", found, TEMPLATE_HINT) from None
        except (ArithmeticError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError) as error:
            found = f"one that can not be compiled: {str(error)[:200] or type(error).__name__}"
            raise FormatError(None, None, "a chat template in Jinja", found, TEMPLATE_HINT) from None

    @classmethod
    def from_model(cls, model: Model, tokenizer: Tokenizer, template: str = "") -> ChatTemplate:
        """The template stored in `model`, or `template` instead: Jinja, or 'chatml' for the form of CHATML.

        Raises UnsupportedError if there is neither.
        """
        language = model.info.language
        source = CHATML if template == "chatml" else template or (language.chat_template if language else "")
        if not source:
            raise UnsupportedError(
                "expected a model with a chat template, found one without; use it to continue texts, or choose "
                "a template: 'chatml', or your own in Jinja"
            )
        eos = sorted(tokenizer.eos)
        return cls(
            source,
            bos_token=(tokenizer.token_text(tokenizer.bos) or "") if tokenizer.bos >= 0 else "",
            eos_token=(tokenizer.token_text(eos[-1]) or "") if eos else "",
        )

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        variables: Mapping[str, Any] | None = None,
        now: datetime.datetime | None = None,
    ) -> str:
        """The text of `messages`, each with 'role' and 'content'; special tokens are spelled in it, so encode it with
        `parse_special` and without `add_special`.

        add_generation_prompt: whether it ends with what stands before an answer. tools: their JSON schemas.
        variables: more names for the template, such as 'enable_thinking'. now: the time that templates print,
        None for the present. Raises InputError for messages that are no messages or that the template refuses,
        FormatError for a template that leaves the sandbox or does not end.
        """
        from jinja2 import TemplateError
        from jinja2.exceptions import SecurityError

        from edgert.llm.sandbox import Budget, BudgetError

        _check(messages)
        given = {"messages": messages, "tools": tools, **(variables or {})}
        try:
            size = Budget(MAX_MESSAGES, SECONDS).size(given)
        except BudgetError:
            raise InputError(f"expected messages of at most {MAX_MESSAGES} characters, found more") from None

        def strftime_now(form: str) -> str:
            if len(form) > 100 or sum(letter.isdigit() for letter in form) > 4:  # widths, up to any length
                raise SecurityError(f"the time in the form {form[:40]!r}")
            return (now or datetime.datetime.now()).strftime(form)

        helpers = {"raise_exception": _refuse, "strftime_now": strftime_now}
        with self._lock:
            self._environment.budget = Budget(WORK + INPUT_WORK * size, SECONDS)
            try:
                return self._template.render(
                    **{**self._tokens, **helpers, **given, "add_generation_prompt": add_generation_prompt}
                )
            except _Refusal as error:
                raise InputError(f"the chat template refuses these messages: {str(error)[:500]}") from None
            except (SecurityError, BudgetError, MemoryError, RecursionError) as error:
                what = str(error)[:200] if isinstance(error, TemplateError) else type(error).__name__
                raise FormatError(
                    None, None, "a chat template that keeps to its sandbox and ends", what, TEMPLATE_HINT
                ) from None
            except Exception as error:  # whatever a template computes with the messages can fail
                what = f"{type(error).__name__}: {str(error)[:200]}"
                raise InputError(
                    f"expected messages that the chat template takes, found that it fails ({what})"
                ) from None


class _Refusal(Exception):
    """What a template says with raise_exception."""


def _refuse(message: object = "") -> NoReturn:
    raise _Refusal(str(message))


def _check(messages: Sequence[Mapping[str, Any]]) -> None:
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence):
        raise InputError(f"expected a list of messages, found {type(messages).__name__}")
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            found = repr(message)[:80]
            raise InputError(f"expected messages as {{'role': ..., 'content': ...}}, found {found} as number {number}")
