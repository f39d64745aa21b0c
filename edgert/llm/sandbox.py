"""A Jinja environment for templates from strangers: no way out of the sandbox, and a bound on the work they do.
What chat templates are given and how they are written is `chat.py`, which alone imports this; it needs `jinja2`.

Jinja's own sandbox keeps templates from Python's insides. What it leaves open is time and memory: loops in loops,
doubling texts, recursive macros, lists that hold each other many times over. Here everything a template makes is paid
for from one budget, counted with all that it holds, as often as it holds it. So no value is larger than the budget,
and no operation on values takes long; loops, calls, filters and operators are steps, which look at the clock.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, Sized, ValuesView
from typing import Any, TypeVar

from jinja2 import TemplateRuntimeError, TemplateSyntaxError, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

STEP = 64
"""The price, in characters, of a step, or of an object made one by one. A character costs 1."""

REFERENCE = 32
"""The price of an item in a container, whose value exists already."""

MAX_INTEGER_BITS = 4096
"""Of a product or a power."""

MAX_INDENT = 256
"""Spaces that `indent` and `tojson` put before a line."""

COLLECTING = frozenset({"groupby", "list", "max", "min", "sort", "unique"})
"""Filters that make a list of what they are given; texts and streams are paid for item by item first."""

FILTERS = COLLECTING | {
    "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int", "items", "last",
    "length", "lower", "map", "reject", "rejectattr", "reverse", "safe", "select", "selectattr", "string", "title",
    "trim", "upper", "wordcount",
}  # fmt: skip
"""Jinja's filters that chat templates use and that make no more than in proportion to what they are given. Those that
can make more (`join`, `replace`, `indent`, `tojson`) are written anew below; others are unknown."""

GROWING_METHODS = frozenset(
    {"center", "encode", "expandtabs", "format", "format_map", "ljust", "maketrans", "rjust", "translate", "zfill"}
)
"""Methods of text that are refused: the result can be as long as a number they are given, or is no text."""


_Body = TypeVar("_Body", nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block)


class BudgetError(TemplateRuntimeError):
    """The template has used up its work or its time."""


class Budget:
    """What a template may do: `work` characters, within `seconds` from now."""

    def __init__(self, work: int, seconds: float) -> None:
        self._work, self._left, self._seconds = work, work, seconds
        self._end = time.monotonic() + seconds

    def step(self, work: int = 0) -> None:
        """Pays for a step that makes `work` characters. Raises BudgetError."""
        self._left -= work + STEP
        if self._left < 0:
            raise BudgetError(f"more work than {self._work} characters")
        self._look_at_clock()

    def value(self, value: object, times: int = 1) -> None:
        """Pays for `value` made `times` over. Raises BudgetError."""
        self.step(self.size(value) * max(times, 0))

    def size(self, value: object) -> int:
        """The price of `value` with all it holds, as often as it holds it. Raises BudgetError if that is too much."""
        price, pending = 0, [value]
        while pending:
            item = pending.pop()
            inner: Iterable[object] = ()
            if isinstance(item, str):
                price += len(item)
            elif isinstance(item, Mapping):
                inner = (*item.keys(), *item.values())
            elif isinstance(item, list | tuple | set | frozenset | KeysView | ItemsView | ValuesView):
                inner = item
            elif isinstance(item, Namespace):
                inner = item._Namespace__attrs.values()
            if inner:
                self._look_at_clock()
            pending.extend(inner)
            price += REFERENCE
            if price + len(pending) * REFERENCE > self._left:
                self.step(self._left)
        return price

    def _look_at_clock(self) -> None:
        if time.monotonic() > self._end:
            raise BudgetError(f"more than {self._seconds:g} seconds")


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """Compiles templates, and runs them within `budget`, which the caller sets anew for each run.

    As in Hugging Face's: blocks are trimmed, and `{% break %}`, `{% continue %}`, `{% generation %}` are known.
    """

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self) -> None:
        # Nothing may be computed while compiling, when there is no budget: `optimized` is off, and filters, operators
        # and `finalize` take the context, which does not exist then.
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            auto_reload=False,
            cache_size=0,
            finalize=_output,
            extensions=[loopcontrols, _Generation],
        )
        self.budget = Budget(0, 0)
        kept = {name: function for name, function in self.filters.items() if name in FILTERS}
        own = {"join": join, "replace": replace, "indent": indent, "tojson": tojson}
        self.filters = {name: _paid(function, name in COLLECTING) for name, function in (kept | own).items()}
        self.filters |= {"_step": _step, "_iterate": _iterate, "_made": _made, "_cut": _cut, "_concat": _concat}
        self.globals = {name: self.globals[name] for name in ("range", "dict", "namespace")}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        return _PayFor().visit(tree)  # type: ignore[no-any-return]

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        raise SecurityError(f"access to {attribute!r} of {type(obj).__name__}")

    def wrap_str_format(self, value: Any) -> None:
        """Jinja allows `format` with checks of its own; to `is_safe_attribute` it is a method like others."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return not (isinstance(obj, str) and attr in GROWING_METHODS) and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for many, times in ((left, right), (right, left)):
                if isinstance(many, str | list | tuple) and isinstance(times, int):
                    self.budget.value(many, times)
        elif operator == "%" and isinstance(left, str):
            raise SecurityError("% does not format text here; join texts with ~")
        if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > MAX_INTEGER_BITS:
                raise SecurityError(f"integers of more than {MAX_INTEGER_BITS} bits")
        if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            self.budget.step(self.budget.size(left) + self.budget.size(right))
        self.budget.step()
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str):
            self.budget.step(len(owner))
            if name == "join" and len(args) == 1:
                return join(context, args[0], owner)
            if name == "replace":
                return replace(context, owner, *args, **kwargs)
            if name in ("split", "rsplit", "splitlines"):
                separator = args[0] if args and isinstance(args[0], str) and args[0] else None
                self.budget.step(STEP * (len(owner) if separator is None else owner.count(separator)))
        result = super().call(context, obj, *args, **kwargs)
        self.budget.value(result)
        return result


class _Generation(Extension):
    """`{% generation %}` marks what the model wrote, for training; here it stands for its contents."""

    tags = {"generation"}  # noqa: RUF012 (as in the base class)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _PayFor(NodeTransformer):
    """Makes a template pay: wherever it makes a value without a call, filter or operator, a filter is put around."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = _filter(node.iter, "_iterate")
        return self._body(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:
        self.generic_visit(node)
        return self._body(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:
        self.generic_visit(node)
        return self._body(node)

    def visit_Block(self, node: nodes.Block) -> nodes.Block:
        self.generic_visit(node)
        return self._body(node)

    def visit_Include(self, node: nodes.Stmt) -> nodes.Stmt:
        raise TemplateSyntaxError("a template that loads others", node.lineno)

    visit_Import = visit_FromImport = visit_Extends = visit_Include

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, "_made")

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, "_made") if node.ctx == "load" else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "_concat")

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, "_cut") if isinstance(node.arg, nodes.Slice) else node

    def _body(self, node: _Body) -> _Body:
        """Each time the body runs, it pays for the text that stands in it."""
        text = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        node.body.insert(0, nodes.ExprStmt(_filter(nodes.Const(text, lineno=node.lineno), "_step"), lineno=node.lineno))
        return node


def _filter(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _budget(context: Context) -> Budget:
    environment = context.environment
    assert isinstance(environment, TemplateEnvironment)
    return environment.budget


@pass_context
def _output(context: Context, value: Any) -> Any:
    _budget(context).value(value)
    return value


@pass_context
def _step(context: Context, work: int) -> int:
    _budget(context).step(work)
    return work


@pass_context
def _made(context: Context, value: Any) -> Any:
    _budget(context).value(value)
    return value


@pass_context
def _cut(context: Context, value: Any) -> Any:
    """A slice holds what there was before: its items are not made anew."""
    _budget(context).step(REFERENCE * len(value) if isinstance(value, Sized) else 0)
    return value


@pass_context
def _iterate(context: Context, values: Any) -> Any:
    if isinstance(values, Sized):
        _budget(context).step(REFERENCE * len(values))
        return values
    return _stream(context, values)


def _stream(context: Context, values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        _budget(context).value(value)
        yield value


@pass_context
def _concat(context: Context, values: list[Any]) -> str:
    return join(context, values)


def _paid(function: Callable[..., Any], collects: bool) -> Callable[..., Any]:
    """The filter `function` as a step that pays for its result, and before for what it collects into a list."""
    wants = getattr(function, "jinja_pass_arg", None)

    @pass_context
    @functools.wraps(function)
    def filtered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget = _budget(context)
        budget.step(len(value) if isinstance(value, str) else 0)
        if collects and not isinstance(value, list | tuple | Mapping):
            value = list(_stream(context, value))
        first: tuple[Any, ...] = ()
        if wants is not None:
            first = (
                {"context": context, "eval_context": context.eval_ctx, "environment": context.environment}[wants.name],
            )
        result = function(*first, value, *args, **kwargs)
        budget.value(result)
        return result

    return filtered


@pass_context
def join(context: Context, values: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    """Jinja's `join`, and the method of text: the `values` as text, with `d` between them."""
    budget = _budget(context)
    parts = []
    for value in values:
        if attribute is not None:
            value = context.environment.getitem(value, attribute)
        budget.step(budget.size(value) + len(str(d)))
        parts.append(str(value))
    text: str = str(d).join(parts)
    return text


@pass_context
def replace(context: Context, text: Any, old: str, new: str, count: int | None = None) -> str:
    """Jinja's `replace`, and the method of text: the first `count` of `old` become `new`, all if None."""
    whole, old, new = str(text), str(old), str(new)
    found = whole.count(old)
    if count is not None and count >= 0:
        found = min(found, count)
    _budget(context).step(len(whole) + found * len(new))
    return whole.replace(old, new, found)


@pass_context
def indent(context: Context, text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Jinja's `indent`: lines of `text` after `width` spaces, or that text; not the first, and no empty ones."""
    text = str(text)
    margin = width if isinstance(width, str) else " " * _indent_of(width)
    _budget(context).step(STEP * text.count("\n") + len(margin) * (text.count("\n") + 1))
    lines = text.split("\n")
    kept = [margin + line if (number or first) and (line or blank) else line for number, line in enumerate(lines)]
    return "\n".join(kept)


@pass_context
def tojson(
    context: Context,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """`value` as JSON with its characters as they are; Jinja's own would write <, >, & and ' for HTML."""
    width = None if indent is None else _indent_of(indent)
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=width, separators=separators, sort_keys=sort_keys)
    text: str = join(context, encoder.iterencode(value))
    return text


def _indent_of(width: object) -> int:
    if not isinstance(width, int) or not 0 <= width <= MAX_INDENT:
        raise SecurityError(f"an indent of {width!r:.40}, expected 0 to {MAX_INDENT}")
    return width
