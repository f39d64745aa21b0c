"""Runs a graph in stages: what can be planned is planned and run, then what its values decide, and so on.
Plans are kept by the shapes and values they were made for. graph/stages.py cuts, graph/control.py says what control
flow means."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgert.errors import UnsupportedError
from edgert.format.model import StoredTensor
from edgert.graph.execute import run_node
from edgert.graph.ir import Array, Graph, Node, TensorType
from edgert.graph.registry import check
from edgert.graph.stages import Cut, alone, cut
from edgert.plan.plan import Plan
from edgert.runtime.executable import Executable, OpTime

KEPT = 8
"""Plans kept for each place of a graph, one for every combination of shapes and values asked for there."""

MAX_ASKED = 1 << 12
"""Elements of a value that a plan may depend on: shapes and axes. More would be a new plan at every run."""

Key = tuple[tuple[object, ...], ...]
Build = Callable[[Graph], Executable]


class Staged:
    """A graph whose shapes or course depend on values. It has no states, and no names of dimensions that its inputs
    do not bind. build: plans a graph of static types and gives it memory. plan: of what is known without values, for
    people to look at."""

    def __init__(
        self, graph: Graph, tensors: Mapping[str, StoredTensor], build: Build, plan: Plan | None = None
    ) -> None:
        self.plan = plan
        self._graph, self._tensors, self._build = graph, tensors, build
        self._first = _Place(graph, tensors)
        self._bodies: dict[int, Staged] = {}

    # ---- running
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name, as arrays of their own. Raises UnsupportedError where the values allow no plan."""
        return self._run(feeds, None)

    def profile(self, feeds: Mapping[str, Array]) -> list[OpTime]:
        """Runs once, op by op; see Executable.profile. Control flow counts as one op, with all its turns."""
        times: list[OpTime] = []
        self._run(feeds, times)
        return times

    def _run(self, feeds: Mapping[str, Array], times: list[OpTime] | None) -> dict[str, Array]:
        values: dict[str, Array] = dict(feeds)
        kinds = {name: _kind(self._graph, name, value) for name, value in values.items()}
        begin = time.perf_counter()
        place: _Place | None = self._first
        while place is not None:
            if place.single is not None:
                start = time.perf_counter()
                made = self._run_alone(place, place.single, values, kinds)
                if times is not None:
                    us = 1e6 * (time.perf_counter() - start)
                    kernel = f"host:{place.single.op}"
                    times.append(OpTime(place.single.name, place.single.op, kernel, 1e6 * (start - begin), us, us))
                following = place.after_single()
            else:
                stage = self._stage(place, values, kinds)
                made = {} if stage.executable is None else _run_planned(stage.executable, values, times)
                kinds.update({name: stage.now.types[name] for name in made})
                following = stage.following
            values.update(made)
            place = following
            needed = {*self._graph.outputs, *(place.graph.inputs if place is not None else ())}
            values = {name: value for name, value in values.items() if name in needed}
        return {name: values[name] if name in values else self._constant(name) for name in self._graph.outputs}

    def _run_alone(
        self, place: _Place, node: Node, values: Mapping[str, Array], kinds: dict[str, TensorType]
    ) -> dict[str, Array]:
        """One node on the host, its bodies in stages of their own. Adds the types of what it makes to `kinds`."""
        inputs = {name: values[name] if name in values else place.constant(name) for name in node.inputs if name}
        typed = Graph(types={**place.graph.types, **kinds})
        typed.types |= {name: _kind(typed, name, value) for name, value in inputs.items()}
        made = run_node(typed, node, inputs, self._run_body)
        kinds.update({name: typed.types[name] for name in made})
        return made

    def _run_body(self, body: Graph, inputs: Sequence[Array]) -> list[Array]:
        if id(body) not in self._bodies:
            self._bodies[id(body)] = Staged(body, self._tensors, self._build)
        found = self._bodies[id(body)].run(dict(zip(body.inputs, inputs, strict=True)))
        return [found[name] for name in body.outputs]

    def _constant(self, name: str) -> Array:
        """An output that no node makes."""
        return self._first.constant(name)

    # ---- planning
    def _stage(self, place: _Place, values: Mapping[str, Array], kinds: Mapping[str, TensorType]) -> _Stage:
        """The stage for the shapes and values at hand: a kept one, or one made now."""
        inputs = {name: kinds[name] for name in place.graph.inputs}
        while True:
            asked = {name: values[name] for name in inputs if name in place.asked}
            key: Key = tuple(
                (name, kind.dtype, kind.shape, asked[name].tobytes() if name in asked else b"")
                for name, kind in inputs.items()
            )
            if key in place.stages:
                place.stages.move_to_end(key)
                return place.stages[key]
            found = cut(place.graph, inputs, asked)
            new = [name for name in found.demands if name not in place.asked]
            if not new:
                return self._keep(place, key, found)
            why = "; ".join(found.reasons.values())
            for name in new:
                check(
                    values[name].size <= MAX_ASKED, f"at most {MAX_ASKED} values in {name!r} ({why})", values[name].size
                )
            place.asked.update(new)

    def _keep(self, place: _Place, key: Key, found: Cut) -> _Stage:
        following = None if found.later is None else _Place(found.later, self._tensors)
        stuck = (
            following is not None and following.single is None and len(following.graph.nodes) == len(place.graph.nodes)
        )
        if stuck:
            name, why = next(iter(found.reasons.items()))
            raise UnsupportedError(f"node {name!r}: {why}")
        while len(place.stages) >= KEPT:
            place.stages.popitem(last=False)
        executable = self._build(found.now) if found.now.nodes else None
        place.stages[key] = _Stage(found.now, executable, following)
        return place.stages[key]

    # ---- what a session asks
    def executables(self) -> Iterator[Executable]:
        """Those of the stages kept, in the order of the graph; those of bodies last."""
        yield from self._first.executables()
        for body in self._bodies.values():
            yield from body.executables()

    @property
    def held(self) -> int:
        """Bytes of all stages kept, without the weights they share."""
        return sum(executable.held for executable in self.executables())

    def forget(self) -> None:
        """Lets all stages go; they are planned anew when they are needed."""
        self._first.forget()
        self._bodies.clear()

    def reset(self) -> None:
        """See Executable.reset."""
        for executable in self.executables():
            executable.reset()


@dataclass(frozen=True)
class _Stage:
    """A part that was planned, and the place after it. executable: None where nothing is left to run in it."""

    now: Graph
    executable: Executable | None
    following: _Place | None


class _Place:
    """Where a run stands: the nodes left to run, the values their plans were found to depend on, and the plans."""

    def __init__(self, graph: Graph, tensors: Mapping[str, StoredTensor]) -> None:
        self.graph, self._tensors = graph, tensors
        self.asked: set[str] = set()
        self.stages: OrderedDict[Key, _Stage] = OrderedDict()
        at_hand = {*graph.inputs, *graph.constants, *tensors}
        singles = (node for node in graph.nodes if alone(node) and at_hand.issuperset(filter(None, node.inputs)))
        self.single = next(singles, None)
        """A node that runs alone and has all its inputs: it goes first."""
        self._after: _Place | None = None

    def constant(self, name: str) -> Array:
        found = self.graph.constants.get(name)
        return found if found is not None else self._tensors[name].dense()

    def after_single(self) -> _Place | None:
        """The place behind `single`, None at the end."""
        if self._after is None and len(self.graph.nodes) > 1:
            rest = self.graph.copy()
            rest.nodes = [new for old, new in zip(self.graph.nodes, rest.nodes, strict=True) if old is not self.single]
            read = dict.fromkeys(name for node in rest.nodes for name in node.inputs if name)
            made = set(self.single.outputs) if self.single is not None else set()
            rest.inputs = [name for name in read if name in made or name in self.graph.inputs]
            self._after = _Place(rest, self._tensors)
        return self._after

    def forget(self) -> None:
        self.stages.clear()
        self._after = None

    def executables(self) -> Iterator[Executable]:
        for stage in self.stages.values():
            if stage.executable is not None:
                yield stage.executable
            if stage.following is not None:
                yield from stage.following.executables()
        if self._after is not None:
            yield from self._after.executables()


def _run_planned(executable: Executable, values: Mapping[str, Array], times: list[OpTime] | None) -> dict[str, Array]:
    feeds = {name: values[name] for name in executable.plan.inputs}
    if times is None:
        return executable.run(feeds)
    times += executable.profile(feeds)
    return executable.outputs()


def _kind(graph: Graph, name: str, value: Array) -> TensorType:
    """The type of a value, with the quantization that the graph declares for it."""
    declared = graph.types.get(name)
    return TensorType(value.dtype.name, tuple(value.shape), declared.quant if declared else None)
