"""State: what a model keeps from run to run, such as the last second of a sound; one for each stream of inputs.
How a run happens is session.py, which sees pasts as inputs and presents as outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, TypeAlias, overload

import numpy as np

from edgert.errors import InputError
from edgert.graph.ir import Array, Graph
from edgert.runtime.inputs import bindings_of, check_array, check_feeds, check_output_names, free_dims

Step: TypeAlias = Callable[[Mapping[str, Array]], dict[str, Array]]
"""All inputs by name, pasts included -> all outputs by name, presents included."""


def seen(graph: Graph) -> Graph:
    """`graph` as people feed it: without pasts and presents. Nodes and tables are shared, for reading only."""
    if not graph.states:
        return graph
    presents = set(graph.states.values())
    inputs = [name for name in graph.inputs if name not in graph.states]
    outputs = [name for name in graph.outputs if name not in presents]
    return Graph(graph.name, inputs, outputs, graph.nodes, graph.types, graph.constants)


def unrolled(graph: Graph) -> Graph:
    """`graph` as one run of it is planned: pasts are inputs, presents are outputs, and nothing is kept. Shares all
    else with `graph`."""
    if not graph.states:
        return graph
    return Graph(graph.name, graph.inputs, graph.outputs, graph.nodes, graph.types, graph.constants)


def first_values(graph: Graph, bindings: Mapping[str, int]) -> dict[str, Array]:
    """Past -> value before the first run: `Graph.initial`, or zeros. Raises InputError for sizes that are not bound."""
    first = {}
    for name in graph.states:
        kind = graph.types[name]
        shape = [bindings.get(dim, dim) if isinstance(dim, str) else dim for dim in kind.shape]
        unbound = [dim for dim in shape if isinstance(dim, str)]
        if unbound:
            raise InputError(
                f"state {name!r} {kind.dtype}{shape}: dimension {unbound[0]!r} is not bound by an input; "
                f"load the model with shapes={{{unbound[0]!r}: 1}}"
            )
        value = graph.initial.get(name)
        first[name] = np.zeros(tuple(map(int, shape)), kind.np_dtype) if value is None else value
    return first


class Begin:
    """The beginning of every state of a model. seen: the graph without states; values: past -> first value, None
    where sizes wait for the first run."""

    def __init__(self, graph: Graph) -> None:
        self.seen = seen(graph)
        static = all(graph.types[name].is_static for name in graph.states)
        self.values = first_values(graph, {}) if static else None


class State:
    """The state of one stream: begins as the model says, and every run takes it one step on.

    run() answers as Session.run does, without the presents. Several states of one session do not touch each other;
    one state belongs to one thread at a time. A run that fails leaves it as it was.
    """

    def __init__(self, graph: Graph, fixed: Mapping[str, int], step: Step, begin: Begin) -> None:
        """graph: the model's, with states. fixed: dimensions bound when it was loaded. step: runs the model once.
        begin: where it starts, shared by all states of a session."""
        self._graph, self._fixed, self._step, self._begin = graph, fixed, step, begin
        self._seen = begin.seen
        self._held = begin.values

    # ---- running
    @overload
    def run(self, inputs: Mapping[str, Any]) -> dict[str, Array]: ...
    @overload
    def run(self, inputs: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[Array]: ...

    def run(
        self, inputs: Mapping[str, Any] | Sequence[str] | None, feeds: Mapping[str, Any] | None = None
    ) -> dict[str, Array] | list[Array]:
        """One step: run({input: array}) gives {output: array}; run(names or None, {input: array}) gives a list.

        Raises InputError for wrong names, dtypes and shapes, and for sizes the state does not fit.
        """
        if feeds is not None:
            if isinstance(inputs, Mapping | str):
                raise InputError(f"expected a list of output names or None, found {type(inputs).__name__}")
            names = check_output_names(self._seen, inputs)
            outputs = self.advance(check_feeds(self._seen, feeds))
            return [outputs[name] for name in names]
        if not isinstance(inputs, Mapping):
            raise InputError(f"expected a dict of inputs, found {type(inputs).__name__}")
        return self.advance(check_feeds(self._seen, inputs))

    def advance(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """run() for feeds that are checked."""
        made = self._step(self.feeds(feeds))
        self._held = {past: made[present] for past, present in self._graph.states.items()}
        return {name: made[name] for name in self._seen.outputs}

    def feeds(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """`feeds`, checked, and beside them the pasts: what one step is fed."""
        if self._held is None:
            bindings = bindings_of(self._seen, feeds, self._fixed)
            return {**feeds, **first_values(self._graph, bindings)}
        return {**feeds, **self._held}

    # ---- what it holds
    @property
    def tensors(self) -> dict[str, Array]:
        """Past -> its value now, as arrays of their own. Quantized ones are as the graph stores them.

        Raises InputError before the first run of a model whose states have named dimensions that are not bound.
        """
        held = first_values(self._graph, self._fixed) if self._held is None else self._held
        return {name: np.array(value) for name, value in held.items()}

    def load(self, tensors: Mapping[str, Any]) -> None:
        """Goes on from `tensors`, which `tensors` of a state of this model gave. Raises InputError."""
        wanted = list(self._graph.states)
        if sorted(tensors) != sorted(wanted):
            raise InputError(f"expected the states {', '.join(wanted)}; found {', '.join(tensors) or 'none'}")
        held = {name: np.array(check_array(name, tensors[name], self._graph.types[name])) for name in wanted}
        pasts = Graph(inputs=wanted, types=self._graph.types)
        bindings_of(pasts, held, {dim: size for dim, size in self._fixed.items() if dim in free_dims(pasts)})
        self._held = held

    def reset(self) -> None:
        """Back to the beginning: what the model says its state is before the first run."""
        self._held = self._begin.values

    def copy(self) -> State:
        """A state of its own that goes on from here."""
        return copy(self)  # neither what it holds nor the arrays in there are ever written to
