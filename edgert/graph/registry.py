"""The table of operators a graph may hold: `Operator`, the `operator` decorator and `OPERATORS`.
The shape functions themselves are in the `infer_*` modules; import `operators` to have them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from edgert.errors import UnsupportedError
from edgert.graph.ir import Array, Node, TensorType

InferFn: TypeAlias = Callable[[Node, "Sequence[TensorType | None]", "Sequence[Array | None]"], list[TensorType]]
"""infer(node, ins, consts) -> output types, at least one for each output the node names.

ins: type of each input, None where an optional input is absent; dimensions may still be names.
consts: value of each input that is constant and at hand, else None.
Raises UnsupportedError for what the operator cannot take, NeedsValue for a value that is not at hand yet;
`infer_types` adds the node's name.
"""


class NeedsValue(UnsupportedError):
    """The type of an output depends on the value of an input that is computed at run time. The runtime plans such a
    node when the value is there, see `stages.py`. inputs: positions of the values asked for in vain, which
    `infer.node_types` fills in."""

    def __init__(self, message: str, inputs: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.inputs = inputs


@dataclass(frozen=True)
class Operator:
    """An operator: its name, its shape function and how many inputs it takes."""

    name: str
    infer: InferFn
    min_inputs: int
    max_inputs: int | None
    """None: any number."""
    quantizes: bool = False
    """Output 0 is quantized, with the dtype, scale and zero point that the graph declares for it."""
    dynamic: bool = False
    """Sizes of outputs depend on values of inputs that may be large (NonZero): the node runs alone, on the host."""


OPERATORS: dict[str, Operator] = {}


def operator(
    *names: str, inputs: tuple[int, int | None], quantizes: bool = False, dynamic: bool = False
) -> Callable[[InferFn], InferFn]:
    """Registers the decorated shape function for each operator in `names`, taking `inputs` = (min, max)."""

    def register(function: InferFn) -> InferFn:
        for name in names:
            if name in OPERATORS:
                raise AssertionError(f"operator {name} has two shape functions")
            OPERATORS[name] = Operator(name, function, *inputs, quantizes, dynamic)
        return function

    return register


def need(value: TensorType | None, what: str) -> TensorType:
    """`value`, which the operator requires. Raises UnsupportedError naming `what` when it is absent."""
    if value is None:
        raise UnsupportedError(f"expected an input {what}, found none")
    return value


def need_const(value: Array | None, what: str) -> Array:
    """`value`, which must be known when shapes are inferred. Raises NeedsValue naming `what`."""
    if value is None:
        raise NeedsValue(f"expected a constant {what}, found a value computed at run time")
    return value


def check(condition: bool, expected: str, found: object) -> None:
    """Raises UnsupportedError "expected ..., found ..." unless `condition`."""
    if not condition:
        raise UnsupportedError(f"expected {expected}, found {found}")
