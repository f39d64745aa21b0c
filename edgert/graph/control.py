"""What control flow means: If, Loop and Scan on values, given a way to run one body.
Who runs a body is the caller's affair: the interpreter (`execute.py`) or planned stages (`runtime/staged.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from edgert.errors import UnsupportedError
from edgert.graph.ir import Array, Graph, Node
from edgert.graph.registry import check

RunBody: TypeAlias = Callable[[Graph, Sequence[Array]], list[Array]]
"""run(body, values of its inputs in order) -> values of its outputs in order."""

MAX_ITERATIONS = 1 << 24
"""Of one Loop: days of work. A hostile or broken file asks for 2**63, and would never come back."""


MAX_STACKED_BYTES = 1 << 32
"""Of what the turns of one node leave behind, each a value: a few bytes of a file ask for any number of turns."""


class _Stacks:
    """What each turn adds to the scan outputs, in the order of `names`."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.values: list[list[Array]] = [[] for _ in names]
        self._bytes = 0

    def add(self, made: Sequence[Array]) -> None:
        """Raises UnsupportedError when all values together take more than MAX_STACKED_BYTES."""
        self._bytes += sum(value.nbytes for value in made)
        check(self._bytes <= MAX_STACKED_BYTES, f"scan outputs of at most {MAX_STACKED_BYTES} bytes", self._bytes)
        for stack, value in zip(self.values, made, strict=True):
            stack.append(value)


def run_control(node: Node, inputs: Sequence[Array | None], run: RunBody) -> list[Array]:
    """The outputs of `node`, which is If, Loop or Scan, for the values of its inputs.

    Raises UnsupportedError for bodies and values that do not fit, and what `run` raises.
    """
    check_bodies(node)
    return {"If": _if, "Loop": _loop, "Scan": _scan}[node.op](node, inputs, run)


def check_bodies(node: Node) -> None:
    """Raises UnsupportedError unless `node` has its bodies, and they take and make as many tensors as it does."""
    names = {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",)}.get(node.op, ())
    check(bool(names) and set(node.graphs) == set(names), f"bodies {' and '.join(names)} of {node.op}", [*node.graphs])
    captured, given = node.attr_int("captured", 0), len(node.inputs)
    own = {"If": 1, "Loop": 2, "Scan": 0}[node.op]
    check(0 <= captured <= given - own, f"0 to {given - own} captured tensors", captured)
    for name in names:
        body = node.graphs[name]
        takes = {"If": captured, "Loop": given, "Scan": given}[node.op]
        check(len(body.inputs) == takes, f"{takes} inputs of {name}", len(body.inputs))
        makes = len(node.outputs) + (1 if node.op == "Loop" else 0)
        check(len(body.outputs) >= makes, f"at least {makes} outputs of {name}", len(body.outputs))
        carried = given - captured - own if node.op == "Loop" else 0
        if node.op == "Scan":
            count = node.attr_int("num_scan_inputs", 0)
            check(1 <= count <= given - captured, f"1 to {given - captured} scan inputs", count)
            carried = given - captured - count
            outs = len(body.outputs) - carried
            for key, wanted in (("input", count), ("output", outs)):
                for kind in ("axes", "directions"):
                    found = len(node.attr_ints(f"scan_{key}_{kind}", [0] * wanted))
                    check(found == wanted, f"{wanted} scan_{key}_{kind}", found)
        check(len(body.outputs) >= carried, f"at least {carried} outputs of {name}", len(body.outputs))


def _axis(value: Array, axis: int) -> int:
    """`axis` counted from the front."""
    check(-value.ndim <= axis < value.ndim, f"an axis of {list(value.shape)}", axis)
    return axis % value.ndim


def _present(values: Sequence[Array | None]) -> list[Array]:
    found = [value for value in values if value is not None]
    check(len(found) == len(values), "a value for every input of a body", "an absent one")
    return found


def _truth(value: Array) -> bool:
    check(value.dtype.kind == "b", "a condition of type bool", value.dtype)
    check(value.size == 1, "a condition of one value", f"shape {list(value.shape)}")
    return bool(value.reshape(())[()])


def _if(node: Node, inputs: Sequence[Array | None], run: RunBody) -> list[Array]:
    """Source: ONNX If-25. The other branch is not run."""
    condition, *captured = _present(inputs)
    return run(node.graphs["then_branch" if _truth(condition) else "else_branch"], captured)


def _loop(node: Node, inputs: Sequence[Array | None], run: RunBody) -> list[Array]:
    """Source: ONNX Loop-25: for up to `trip count` iterations, while the condition holds."""
    body, captured = node.graphs["body"], node.attr_int("captured", 0)
    trips = None
    if inputs[0] is not None:
        check(inputs[0].size == 1 and inputs[0].dtype.kind in "iu", "one whole trip count", list(inputs[0].shape))
        trips = int(inputs[0].reshape(()))
    going = _truth(inputs[1]) if inputs[1] is not None else True
    last = len(inputs) - captured
    carried, around = _present(inputs[2:last]), _present(inputs[last:])
    scanned = _Stacks(body.outputs[1 + len(carried) :])
    turn = 0
    while going and (trips is None or turn < trips):
        check(turn < MAX_ITERATIONS, f"a loop that ends within {MAX_ITERATIONS} turns", "one that goes on")
        made = run(body, [np.asarray(turn, np.int64), np.asarray(going), *carried, *around])
        going, carried = _truth(made[0]), made[1 : 1 + len(carried)]
        scanned.add(made[1 + len(carried) :])
        turn += 1
    rows = [_stacked(stack, 0, body, name) for stack, name in zip(scanned.values, scanned.names, strict=True)]
    return [*carried, *rows]


def _stacked(values: list[Array], axis: int, body: Graph, name: str) -> Array:
    """Values of all turns along a new axis; without any turn, none of what the body declares."""
    if values:
        shapes = {value.shape for value in values}
        check(len(shapes) == 1, f"one shape of {name!r} in all turns", sorted(shapes))
        rank = values[0].ndim + 1
        check(-rank <= axis < rank, f"an axis of {rank} dimensions", axis)
        return np.stack(values, axis)
    kind = body.types.get(name)
    if kind is None:
        raise UnsupportedError(f"expected a declared type of {name!r}, which no turn made, found none")
    sizes = [d if isinstance(d, int) else 0 for d in kind.shape]
    rank = len(sizes) + 1
    check(-rank <= axis < rank, f"an axis of {rank} dimensions", axis)
    at = axis % rank
    return np.zeros((*sizes[:at], 0, *sizes[at:]), kind.np_dtype)


def _scan(node: Node, inputs: Sequence[Array | None], run: RunBody) -> list[Array]:
    """Source: ONNX Scan-25: the body once for each slice of the sequences, forwards or backwards."""
    body = node.graphs["body"]
    captured, count = node.attr_int("captured", 0), node.attr_int("num_scan_inputs", 0)
    values = _present(inputs)
    last = len(values) - captured
    carried, sequences, around = values[: last - count], values[last - count : last], values[last:]
    outs = len(body.outputs) - len(carried)
    axes, backwards = (node.attr_ints(f"scan_input_{key}", [0] * count) for key in ("axes", "directions"))
    out_axes, out_backwards = (node.attr_ints(f"scan_output_{key}", [0] * outs) for key in ("axes", "directions"))
    axes = [_axis(value, axis) for value, axis in zip(sequences, axes, strict=True)]
    lengths = {value.shape[axis] for value, axis in zip(sequences, axes, strict=True)}
    check(len(lengths) == 1, "sequences of one length", sorted(lengths))
    (length,) = lengths
    scanned = _Stacks(body.outputs[len(carried) :])
    for turn in range(length):
        slices = [
            np.take(value, length - 1 - turn if back else turn, axis)
            for value, axis, back in zip(sequences, axes, backwards, strict=True)
        ]
        made = run(body, [*carried, *slices, *around])
        carried = made[: len(carried)]
        scanned.add(made[len(carried) :])
    rows = []
    for stack, axis, back, name in zip(scanned.values, out_axes, out_backwards, scanned.names, strict=True):
        rows.append(_stacked(stack[::-1] if back else stack, axis, body, name))
    return [*carried, *rows]
