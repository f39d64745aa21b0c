"""States of a network whose file does not tell: which input takes, in the next run, what an output gave in this one.
What a state is, and who keeps it, is edgert/runtime/state.py; variables of TFLite models need no telling."""

from __future__ import annotations

from collections.abc import Mapping

from edgert.errors import ConversionError
from edgert.graph.ir import Graph, TensorType


def declare_states(graph: Graph, states: Mapping[str, str]) -> None:
    """Makes states of the pairs input -> output of `graph`, in place. Before the first run they are zeros.

    Types must agree; a named size stands for any, and is bound by the other inputs or with shapes.
    Raises ConversionError for names the graph does not have, those given twice, and types that differ.
    """
    for past, present in states.items():
        for name, known, what in ((past, graph.inputs, "an input"), (present, graph.outputs, "an output")):
            if name not in known:
                raise ConversionError(
                    f"state {past}={present}: expected {what} among {', '.join(known)}, found {name!r}"
                )
        if past in graph.states or present in graph.states.values():
            raise ConversionError(f"state {past}={present}: expected inputs and outputs that are no state yet")
        one, other = graph.types[past], graph.types.get(present)
        if other is not None and not agree(one, other):
            raise ConversionError(f"state {past}={present}: expected equal types, found {show(one)} and {show(other)}")
        graph.states[past] = present


def agree(one: TensorType, other: TensorType) -> bool:
    """Whether a tensor of one type may be fed as the other."""
    sizes = len(one.shape) == len(other.shape) and all(
        a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(one.shape, other.shape, strict=True)
    )
    return one.dtype == other.dtype and one.quant == other.quant and sizes


def show(kind: TensorType) -> str:
    return f"{kind.dtype}[{','.join(map(str, kind.shape))}]"


def parse_states(words: tuple[str, ...]) -> dict[str, str]:
    """{'h_in': 'h_out'} of the words 'h_in=h_out'. Raises ConversionError."""
    pairs = [word.partition("=") for word in words]
    for word, (past, _, present) in zip(words, pairs, strict=True):
        if not past or not present:
            raise ConversionError(f"state {word!r}: expected INPUT=OUTPUT, such as h_in=h_out")
    states = {past: present for past, _, present in pairs}
    if len(states) < len(words):
        raise ConversionError(f"states {', '.join(words)}: expected every input once")
    return states
