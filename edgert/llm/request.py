"""What people ask of a language model, by the names of OpenAI's and llama.cpp's interfaces, as checked options.

Answers in their shape are responses.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from edgert.errors import InputError
from edgert.llm.constrain import Constraint
from edgert.llm.generate import Options, Overflow
from edgert.llm.prefix import ReadProgress
from edgert.llm.sampler import Sampling
from edgert.llm.tokenizer import Tokenizer

SAMPLING = (
    "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n", "frequency_penalty",
    "presence_penalty", "seed",
)  # fmt: skip


class Fields(TypedDict, total=False):
    """Keywords of a request; None is as if it were not there. Sampling says how tokens are drawn, Options the rest.

    stop: a string or several. logit_bias: tokens, also as text as JSON has them, to what is added. One of these
    makes the answer keep to a form: response_format {'type': 'json_schema', 'json_schema': {'schema': ...}} or
    {'type': 'json_object'}, json_schema alone, regex, or grammar (Lark). progress: called with (tokens read, tokens
    to read) while the prompt is read.
    """

    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repeat_penalty: float | None
    repeat_last_n: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    logit_bias: Mapping[int, float] | Mapping[str, float] | None
    seed: int | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    on_overflow: Overflow | None
    keep: int | None
    speculative: bool | None
    logprobs: int | None
    response_format: Mapping[str, Any] | None
    json_schema: Mapping[str, Any] | str | None
    regex: str | None
    grammar: str | None
    progress: ReadProgress | None


def options_from(fields: Mapping[str, Any], seed: int | None = None) -> Options:
    """The options that `fields` ask for. seed: for those that give none. Raises InputError."""
    unknown = sorted(set(fields) - set(Fields.__annotations__))
    if unknown:
        raise InputError(f"expected some of {', '.join(Fields.__annotations__)}; found {unknown[0]!r}")
    given = {name: value for name, value in fields.items() if value is not None}
    sampling = {name: given[name] for name in SAMPLING if name in given}
    sampling.setdefault("seed", seed)
    stop = given.get("stop", ())
    rest = {
        name: given[name] for name in ("max_tokens", "on_overflow", "keep", "speculative", "logprobs") if name in given
    }
    return Options(
        Sampling(**sampling, logit_bias=_bias(given.get("logit_bias", {}))),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        **rest,
    )


def constraint_from(fields: Mapping[str, Any], tokenizer: Tokenizer, vocabulary: int) -> Constraint | None:
    """The form the answer is to keep to, None if any will do. Raises InputError or UnsupportedError."""
    given = {name: value for name in ("regex", "grammar") if (value := fields.get(name)) is not None}
    if (schema := fields.get("json_schema")) is not None:
        given["schema"] = schema
    if (form := fields.get("response_format")) is not None and (wanted := schema_of(form)) is not None:
        if "schema" in given:
            raise InputError("expected response_format or json_schema, found both")
        given["schema"] = wanted
    return Constraint(tokenizer, vocabulary, **given) if given else None


def schema_of(form: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The JSON schema of a response_format, as OpenAI or llama.cpp's server take it; None for 'text'."""
    kind = form.get("type") if isinstance(form, Mapping) else form
    if kind == "text":
        return None
    if kind == "json_object":
        schema = form.get("schema", {"type": "object"})
    elif kind == "json_schema":
        outer = form.get("json_schema")
        schema = outer.get("schema") if isinstance(outer, Mapping) else form.get("schema")
    else:
        raise InputError(f"response_format: expected type text, json_object or json_schema, found {kind!r:.80}")
    if not isinstance(schema, Mapping):
        raise InputError(f"response_format: expected a schema that is an object, found {json_like(schema)}")
    return schema


def json_like(value: Any) -> str:
    """`value` for an error message."""
    try:
        return json.dumps(value)[:80]
    except (TypeError, ValueError, RecursionError):
        return type(value).__name__


def _bias(table: Mapping[Any, Any]) -> dict[int, float]:
    if not isinstance(table, Mapping):
        raise InputError(f"logit_bias: expected an object of tokens, found {type(table).__name__}")
    return {int(key) if isinstance(key, str) and key.isdecimal() else key: value for key, value in table.items()}


def plain_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages whose content is text: lists of text parts, as OpenAI allows them, are joined. Raises InputError."""
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise InputError(f"expected a list of messages, {{'role': ..., 'content': ...}}; found {json_like(messages)}")
    plain: list[dict[str, Any]] = []
    for message in messages:
        if not isinstance(message, Mapping):
            raise InputError(f"expected messages as {{'role': ..., 'content': ...}}, found {json_like(message)}")
        content = message.get("content")
        if isinstance(content, list | tuple):
            wrong = [part for part in content if not (isinstance(part, Mapping) and isinstance(part.get("text"), str))]
            if wrong:
                raise InputError(f"expected messages of text alone, found a part {json_like(wrong[0])}")
            content = "".join(part["text"] for part in content)
        plain.append({**message, "content": content})
    return plain
