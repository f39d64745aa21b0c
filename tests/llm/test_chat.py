"""Chat templates: Hugging Face's conventions, and templates that misbehave."""

from __future__ import annotations

import datetime
import sys
import threading
import time
import tracemalloc
from typing import Any

import pytest
from vocabularies import END, model, tokenizer

from edgert.errors import EdgertError, FormatError, InputError, UnsupportedError
from edgert.llm.chat import CHATML, MAX_TEMPLATE, ChatTemplate

HI = [{"role": "user", "content": "Hi <b> & 'x'"}]
TALK = [{"role": "system", "content": "Be kind."}, *HI, {"role": "assistant", "content": "Hello"}, *HI]


def render(source: str, messages: list[dict[str, Any]] | None = None, **given: Any) -> str:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>").render(HI if messages is None else messages, **given)


def test_chatml() -> None:
    assert render(CHATML, TALK) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi <b> & 'x'<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nHi <b> & 'x'<|im_end|>\n<|im_start|>assistant\n"
    )
    assert render(CHATML, HI, add_generation_prompt=False).endswith("<|im_end|>\n")
    assert render(CHATML, []) == "<|im_start|>assistant\n"


def test_a_template_in_the_manner_of_llama_3() -> None:
    source = (
        "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
        "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    )
    assert render(source, [{"role": "user", "content": " a "}]) == (
        "<s><|start_header_id|>user<|end_header_id|>\n\na<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_a_template_in_the_manner_of_mistral_refuses_what_it_does_not_know() -> None:
    source = (
        "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
    )
    assert render(source, HI) == "<s>[INST] Hi <b> & 'x' [/INST]"
    with pytest.raises(InputError, match="refuses these messages: Conversation roles must alternate"):
        render(source, [*HI, *HI])


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("  {% if true %}\n  a\n  {% endif %}\nb", "  a\nb"),  # trim_blocks and lstrip_blocks
        ("{%- generation %}x{{ 1 + 1 }}{% endgeneration %}y", "x2y"),
        ("{% for i in [0, 1, 2] %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% break %}{% endfor %}", "0"),
        ("{{ {'b': ['é<', 1.5, none, true], 'a': 1}|tojson }}", '{"b": ["é<", 1.5, null, true], "a": 1}'),
        ("{{ {'b': 1, 'a': [2]}|tojson(indent=2) }}", '{\n  "b": 1,\n  "a": [\n    2\n  ]\n}'),
        ("{{ {'b': 1, 'a': 2}|tojson(sort_keys=true, separators=(',', ':')) }}", '{"a":2,"b":1}'),
        ("{{ ' x '|trim ~ 1 ~ none ~ [1] }}", "x1None[1]"),
        ("{{ ['a', 1, 'b']|join('-') }}{{ '+'.join(['x', 'y']) }}", "a-1-bx+y"),
        ("{{ messages|map(attribute='role')|join(',') }}", "user"),
        ("{{ messages|selectattr('role', 'equalto', 'user')|list|length }}", "1"),
        ("{{ messages|rejectattr('x')|list|count }}", "1"),
        ("{{ 'aXbX'.replace('X', '') }}{{ 'aXbX'|replace('X', '-', 1) }}{{ 'aa'.replace('', '.') }}", "aba-bX.a.a."),
        ("{{ 'a</think>b'.split('</think>')[-1].strip('\n') }}{{ 'abc'[1:] }}{{ messages[0:][0].role }}", "bbcuser"),
        ("{{ 'a\nb\n\nc'|indent(2) }}|{{ 'a\nb'|indent('> ', first=true) }}", "a\n  b\n\n  c|> a\n> b"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "1"),
        ("{% macro f(x, y=2) -%}<{{ x }}{{ y }}>{%- endmacro %}{{ f(1) }}{{ f(x=3, y=4) }}", "<12><34>"),
        ("{% macro f() %}[{{ caller() }}]{% endmacro %}{% call f() %}x{% endcall %}", "[x]"),
        ("{% filter upper %}a{{ 'b' }}{% endfilter %}", "AB"),
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        ("{% set x %}a{{ 1 }}{% endset %}{{ x }}{{ (1, 2)|last }}{{ {'k': 'v'}.items()|list }}", "a12[('k', 'v')]"),
        ("{{ x is defined }} {{ tools is none }} {{ messages[0].content is string }}", "False True True"),
        ("{{ '%' }} {{ 7 % 4 }} {{ 2 ** 8 }} {{ 7 // 2 }} {{ -3|abs }}", "% 3 256 3 3"),
        ("{{ 'ab' * 2 }}{{ [0] * 2 + [1] }}{{ 2 * 'x' }}", "abab[0, 0, 1]xx"),
        ("{{ 'x' if tools else 'y' }}{{ missing or 'z' }}{{ missing|default('d') }}", "yzd"),
        ("{% for k, v in {'a': 1, 'b': 2}|dictsort %}{{ k }}{{ v }}{{ loop.last }}{% endfor %}", "a1Falseb2True"),
        ("{% for a in [[1, [2]], [3]] recursive %}{{ a if a is number else loop(a) }}{% endfor %}", "123"),
    ],
)  # fmt: skip
def test_what_templates_use(source: str, text: str) -> None:
    assert render(source, now=datetime.datetime(2024, 7, 26)) == text


def test_tools_and_variables() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    source = "{% for tool in tools %}{{ tool|tojson }}{% endfor %}{{ enable_thinking }}"
    expected = '{"type": "function", "function": {"name": "f", "parameters": {}}}True'
    assert render(source, tools=tools, variables={"enable_thinking": True}) == expected


def test_the_template_of_the_model_or_another_by_choice() -> None:
    own, mine = model(chat_template="own {{ eos_token }}"), tokenizer(bos=END)
    assert ChatTemplate.from_model(own, mine).render(HI) == "own <|end|>"
    assert ChatTemplate.from_model(own, mine, "{{ bos_token }}").render(HI) == "<|end|>"
    assert ChatTemplate.from_model(own, mine, "chatml").source == CHATML
    with pytest.raises(UnsupportedError, match="'chatml'"):
        ChatTemplate.from_model(model(), mine)
    assert ChatTemplate.from_model(model(), mine, "chatml").source == CHATML


DOUBLE = "{%% set ns = namespace(s=%s) %%}{%% for i in range(100) %%}{%% set ns.s = %s %%}{%% endfor %%}{{ ns.s == 1 }}"
MISBEHAVING = {
    "loop in loop": "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "filtered loop": "{% for i in range(100000) %}{% for j in range(100000) if false %}{% endfor %}{% endfor %}",
    "much text": "{% for i in range(100000) %}{% for j in range(100000) %}" + "y" * 1000 + "{% endfor %}{% endfor %}",
    "much output": "{% for i in range(100000) %}{{ 'x' * 10000 }}{% endfor %}",
    "recursive macro": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "branching macro": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "recursive loop": "{% for i in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "long text": "{{ 'a' * 10**9 }}",
    "long list": "{{ [1] * 10**9 }}",
    "long tuple": "{{ 10**9 * (1, 2) }}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "powers": DOUBLE % ("3", "ns.s * ns.s"),
    "doubling with ~": DOUBLE % ("'xx'", "ns.s ~ ns.s"),
    "doubling with +": DOUBLE % ("'xx'", "ns.s + ns.s"),
    "doubling with join": DOUBLE % ("'xx'", "[ns.s, ns.s]|join"),
    "doubling with replace": DOUBLE % ("'xx'", "ns.s|replace('x', 'xx')"),
    "doubling with set": DOUBLE % ("'xx'", "ns.s %}{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x"),
    "lists of lists": DOUBLE % ("[1]", "[ns.s, ns.s]"),
    "tuples of tuples": DOUBLE % ("(1,)", "(ns.s, ns.s)"),
    "objects of objects": DOUBLE % ("1", "{'a': ns.s, 'b': ns.s}"),
    "views of views": DOUBLE % ("{'a': 1}", "{'a': [ns.s.items(), ns.s.items()]}"),
    "a list of itself": "{% set ns = namespace() %}{% set ns.s = [ns, ns] %}{{ ns.s }}",
    "replace": "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "join": "{{ ('a' * 100000).join(['x'] * 100000) }}",
    "join of letters": "{{ ('x' * 100000)|join('a' * 100000) }}",
    "split": "{{ ('ab ' * 3000000).split() }}",
    "list of letters": "{{ ('日' * 3000000)|list|length }}",
    "slices": DOUBLE % ("['x' * 1000000]", "ns.s + [ns.s[0][1:]]"),
    "mapped": "{{ (['x' * 1000] * 1000)|map('replace', 'x', 'y' * 1000)|list }}",
    "width by method": "{{ 'a'.center(10**9) }}",
    "width by format": "{{ '{:1000000000d}'.format(1) }}",
    "width by %": "{{ '%1000000000d' % 1 }}",
    "wide indent": "{{ 'a\nb'|indent(10**9) }}",
    "wide JSON": "{{ [1, 2]|tojson(indent=10**9) }}",
    "wide time": "{{ strftime_now('%1000000000Y') }}",
    "attribute of text": "{{ ''.__class__ }}",
    "attribute of a list": "{{ messages.__class__ }}",
    "attribute by name": "{{ messages['__class__'] }}{{ messages.__class__.__mro__ }}",
    "subclasses": "{{ ().__class__.__bases__[0].__subclasses__() }}",
    "globals": "{{ raise_exception.__globals__ }}",
    "init": "{{ namespace.__init__.__globals__ }}",
    "change of messages": "{{ messages.append(1) }}",
    "change of a message": "{{ messages[0].update({'role': 'x'}) }}",
    "too long": "x" * (MAX_TEMPLATE + 1),
    "syntax": "{% for %}",
    "unknown filter": "{{ messages|attr('__class__') }}",
    "unknown statement": "{% debug %}",
    "include": "{% include 'x' %}",
    "import": "{% import 'os' as os %}",
    "extends": "{% extends 'x' %}",
    "deep expression": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "deep lists": "{{ " + "[" * 3000 + "]" * 3000 + " }}",
    "deep statements": "{% if 1 %}" * 2000 + "{% endif %}" * 2000,
    "deep loops": "{% for x in y %}" * 90 + "{% endfor %}" * 90,
    "many signs": "{{ " + "-" * 50000 + "1 }}",
    "many sums": "{{ " + "1+" * 20000 + "1 }}",
    "long integer": "{{ " + "9" * 10000 + " }}",
}  # fmt: skip


@pytest.mark.parametrize("kind", MISBEHAVING)
def test_templates_that_misbehave_are_stopped(kind: str) -> None:
    """In seconds, by one error of one type."""
    started = time.monotonic()
    with pytest.raises(FormatError, match="chat template"):
        render(MISBEHAVING[kind])
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "kind", [kind for kind in MISBEHAVING if kind.startswith(("doubling", "long ", "wide", "width"))]
)
def test_templates_that_want_memory_do_not_get_it(kind: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            render(MISBEHAVING[kind])
        assert tracemalloc.get_traced_memory()[1] < 128 << 20
    finally:
        tracemalloc.stop()


def test_a_template_that_takes_its_time_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgert.llm.chat.SECONDS", 0.05)
    monkeypatch.setattr("edgert.llm.chat.WORK", 1 << 40)
    started = time.monotonic()
    with pytest.raises(FormatError, match=r"more than 0\.05 seconds"):
        render(MISBEHAVING["loop in loop"])
    assert time.monotonic() - started < 2


def test_a_stopped_template_can_be_used_again() -> None:
    template = ChatTemplate("{% for i in range(n) %}{% for i in range(n) %}{% endfor %}{% endfor %}ok")
    with pytest.raises(FormatError):
        template.render(HI, variables={"n": 100_000})
    assert template.render(HI, variables={"n": 2}) == "ok"


@pytest.mark.parametrize(
    ("source", "messages", "says"),
    [
        ("{{ messages[0].content.missing.more }}", HI, "no attribute 'missing'"),
        ("{{ 1 / 0 }}", HI, "ZeroDivisionError"),
        ("{{ messages|tojson }}", [{"role": "user", "content": object()}], "not JSON serializable"),
        ("{{ messages[0].content + 'x' }}", [{"role": "user", "content": None}], "TypeError"),
        ("", "hello", "found str"),
        ("", {"role": "user"}, "found dict"),
        ("", ["hello"], "as number 0"),
        ("", [*HI, {"content": "x"}], "as number 1"),
        ("", [{"role": 3}], "as number 0"),
        ("", [{"role": "user", "content": "x" * (1 << 24)}], "at most 16777216"),
    ],
)
def test_messages_that_are_none(source: str, messages: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        render(source, messages)


def test_messages_that_hold_themselves() -> None:
    message: dict[str, Any] = {"role": "user"}
    message["content"] = [message, message]
    with pytest.raises(EdgertError):
        render("{{ messages|tojson }}", [message])


def test_long_conversations_fit() -> None:
    talk = [{"role": "user" if i % 2 == 0 else "assistant", "content": "word " * 200} for i in range(2000)]
    assert len(render(CHATML, talk)) > 2_000_000


def test_threads_share_a_template() -> None:
    template, wrong = ChatTemplate("{% for i in range(200) %}{{ messages[0].content }}{% endfor %}"), []

    def work(letter: str) -> None:
        for _ in range(20):
            if template.render([{"role": "user", "content": letter}]) != letter * 200:
                wrong.append(letter)

    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'edgert\[llm\]'"):
        ChatTemplate(CHATML)
