"""load() and Session: a model file that answers. Plans are made per shape and kept; runs are serialised by a lock.

What a plan is and why is edgert/plan; how it runs is executable.py and pool.py; what is kept between runs, state.py.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from edgert.device.cpu import usable_cores
from edgert.errors import InputError, MemoryBudgetError, UnsupportedError
from edgert.format import Model, ModelInfo, read_model
from edgert.graph.infer import bind_inputs, infer_types
from edgert.graph.ir import Array, Graph
from edgert.graph.registry import NeedsValue
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.library import Progress
from edgert.plan.budget import parse_bytes, show_bytes
from edgert.plan.plan import Plan
from edgert.plan.planner import make_plan
from edgert.runtime.executable import Executable, OpTime
from edgert.runtime.fork import tell_after_fork
from edgert.runtime.heap import give_back
from edgert.runtime.inputs import (
    ValueInfo,
    bindings_of,
    check_feeds,
    check_output_names,
    check_shapes,
    free_dims,
)  # fmt: skip
from edgert.runtime.native import Native
from edgert.runtime.options import Checks, Precision, Stream, check_sparse, check_stream, check_threads
from edgert.runtime.shared_ram import Share, SharedRam
from edgert.runtime.state import Begin, State, unrolled
from edgert.runtime.target import Target

if TYPE_CHECKING:
    from edgert.runtime.staged import Staged
    from edgert.runtime.stream_plan import StreamedPlan, StreamedWeights
    from edgert.stream.store import WeightStore

KEPT_PLANS = 4
"""Shapes a session keeps ready; the one used longest ago goes first. With a RAM budget, fewer if need be."""
Bindings = tuple[tuple[str, int], ...]


def load(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    ram: str | int | SharedRam | None = None,
    device: str = "cpu",
    shapes: Mapping[str, int] | None = None,
    sparse: str = "auto",
    stream: Stream = "auto",
    checks: Checks = "once",
    on_compile: Progress | None = None,
    on_build: Progress | None = None,
    precision: Precision = "fp32",
) -> Session:
    """Opens the `.edge` file at `path` and plans it.

    threads: at most this many work on one run; default is the cores this process may use. ram: a budget
    such as '512M' that the session must fit, or a SharedRam that several divide: sizes of named dimensions are then
    needed here. device: 'cpu', or 'opencl' (the first GPU, else what there is) or 'opencl:N': what can run there does,
    the rest on the processor, and the plan says which; or 'auto', for each op what is predicted to be the faster with
    what it hands over, and the processor for all where there is no device, of which the first line says why.
    shapes: sizes of named dimensions, {'N': 1}; those left out are bound by the inputs of each run. sparse: 'auto'
    skips the zeros of sparse weights where that is predicted faster; 'always' and 'never' choose one side. stream:
    whether weights are read from the file in each run: 'auto' those that `ram` has no room for, 'never' none; 'always'
    reads them into memory of the session in any case, where else the file is mapped. checks: when bytes that are read
    so are compared with their checksums: 'once', 'always' or 'never'. on_compile: called with (kernels compiled, to
    compile) where kernels must be compiled first, which takes seconds; on_build: with (ops ready, ops) while programs
    are built and measured for a device, which may take minutes. precision: 'fp16' multiplies floats in halves on the
    device, faster where it has arithmetic for them: answers differ by about 1 %, and activations beyond 65504 are
    infinite.
    Raises FormatError, UnsupportedError, StorageError, MemoryBudgetError, InputError, KernelError or DeviceError.
    """
    return Session(
        read_model(path), threads=threads, ram=ram, device=device, shapes=shapes, sparse=sparse, stream=stream,
        checks=checks, on_compile=on_compile, on_build=on_build, precision=precision,
    )  # fmt: skip


class Session:
    """A loaded model. Safe to use from several threads, which take turns; and after a fork.

    A context manager; close() ends its worker threads, as does the end of its life or of the interpreter.
    """

    def __init__(
        self,
        model: Model,
        *,
        threads: int | None = None,
        ram: str | int | SharedRam | None = None,
        device: str = "cpu",
        shapes: Mapping[str, int] | None = None,
        sparse: str = "auto",
        stream: Stream = "auto",
        checks: Checks = "once",
        on_compile: Progress | None = None,
        on_build: Progress | None = None,
        precision: Precision = "fp32",
    ) -> None:
        check_threads(threads)
        check_sparse(sparse)
        check_stream(stream, checks)
        if model.info.language is not None and model.graph.states:
            raise UnsupportedError(
                f"{model.info.name or 'the model'} is a language model: expected another; use edgert.LLM or "
                "`edgert generate`"
            )
        self._model = model
        self._graph, self._begin = unrolled(model.graph), Begin(model.graph)
        self._seen = self._begin.seen
        self._threads = threads or usable_cores()
        self._shared = ram if isinstance(ram, SharedRam) else None
        self._share: Share | None = None
        self._ram = None if ram is None or isinstance(ram, SharedRam) else parse_bytes(ram)
        self._sparse, self._checks = sparse, checks
        self._fixed = check_shapes(model.graph, shapes)
        self._static = not free_dims(model.graph)
        shared = self._shared is not None
        self._target = Target(device, stream=stream, shared=shared, on_build=on_build, precision=precision)
        self._stream, self._level = self._target.stream, self._target.choice.level
        self._native = Native(self._target.choice, self._threads, on_compile)
        self._ready: OrderedDict[Bindings, Executable | Staged] = OrderedDict()
        self._store: WeightStore | None = None
        """What reads weights for the one executable that there is then; several have theirs mapped."""
        self._latest: Plan | None = None
        self._key: Bindings | None = None
        """The sizes that were planned last."""
        self._sizes: tuple[dict[str, tuple[int, ...]], dict[str, int]] = {}, dict(self._fixed)
        """Shapes of the latest inputs, and what they bind."""
        self._lock = threading.Lock()
        self._closed = False
        tell_after_fork(self)
        free = [name for name in free_dims(model.graph) if name not in self._fixed]
        if self._shared is not None and free:
            raise InputError(
                f"ram: a shared budget is divided before the first run: expected the sizes of all named dimensions, "
                f"found {free[0]!r} free; give shapes={{{free[0]!r}: 1}}"
            )
        if self._static or not free:
            try:
                with self._lock:  # from the moment that it has a share, others may have it trim
                    self._executable(self._fixed)
            except BaseException:
                self.close()
                raise

    # ---- what the model is
    @property
    def info(self) -> ModelInfo:
        """Name, task, labels, preprocessing and licence, from the file."""
        return self._model.info

    @property
    def model(self) -> Model:
        """The file's content."""
        return self._model

    @property
    def level(self) -> Level:
        return self._level

    def get_inputs(self) -> list[ValueInfo]:
        """Name, shape and type of each input, as in ONNX Runtime; without states."""
        return [ValueInfo.of(name, self._seen.types[name]) for name in self._seen.inputs]

    def get_outputs(self) -> list[ValueInfo]:
        """Name, shape and type of each output, as in ONNX Runtime; without states."""
        return [ValueInfo.of(name, self._seen.types[name]) for name in self._seen.outputs]

    # ---- running
    @overload
    def run(self, inputs: Mapping[str, Any]) -> dict[str, Array]: ...
    @overload
    def run(self, inputs: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[Array]: ...

    def run(
        self, inputs: Mapping[str, Any] | Sequence[str] | None, feeds: Mapping[str, Any] | None = None
    ) -> dict[str, Array] | list[Array]:
        """run({input: array}) gives {output: array}; run(names or None, {input: array}) gives a list, as in
        ONNX Runtime. Arrays must have the exact dtype; outputs are new arrays. A model with a state begins anew in
        each run; state() gives one that goes on.

        Raises InputError for wrong names, dtypes or shapes; for new shapes also what load() raises.
        """
        if feeds is not None:
            if isinstance(inputs, Mapping | str):
                raise InputError(f"expected a list of output names or None, found {type(inputs).__name__}")
            names = check_output_names(self._seen, inputs)
            outputs = self._run(feeds)
            return [outputs[name] for name in names]
        if not isinstance(inputs, Mapping):
            raise InputError(f"expected a dict of inputs, found {type(inputs).__name__}")
        return self._run(inputs)

    def state(self) -> State:
        """What the model keeps from run to run, at its beginning: `state.run(...)` as run(), step by step. One for each
        stream of inputs; they share the plan and take turns."""
        return State(self._model.graph, self._fixed, self._step, self._begin)

    def _run(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        arrays = self._checked(feeds)
        return self.state().advance(arrays) if self._model.graph.states else self._step(arrays)

    def profile(self, inputs: Mapping[str, Any]) -> list[OpTime]:
        """Runs once, op by op, and gives the time of each: the sum is above that of run(), which is one call."""
        arrays = self.state().feeds(self._checked(inputs))
        with self._lock:
            return self._prepare(arrays).profile(arrays)

    def _step(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """One run of the model with all its inputs, pasts of states included."""
        with self._lock:
            return self._prepare(arrays).run(arrays)

    def _checked(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        self._check_open()
        return check_feeds(self._seen, feeds)

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("this session is closed; load the model again")

    def _prepare(self, arrays: Mapping[str, Array]) -> Executable | Staged:
        self._check_open()
        # Where nothing is free, the shapes that were checked bind nothing.
        if self._static:
            return self._executable({})
        shapes = {name: array.shape for name, array in arrays.items()}
        if shapes != self._sizes[0]:
            self._sizes = shapes, bindings_of(self._graph, arrays, self._fixed)
        return self._executable(self._sizes[1])

    # ---- planning
    def plan(self, shapes: Mapping[str, int] | None = None) -> Plan:
        """The plan for `shapes` (with those given to load()); without named dimensions, the one plan there is. Nodes
        that wait for values of the run are in its `later`.

        Raises InputError while a dimension is unbound.
        """
        with self._lock:
            bindings = {**self._fixed, **check_shapes(self._model.graph, shapes)}
            missing = [name for name in free_dims(self._model.graph) if name not in bindings]
            if missing and not bindings and self._latest is not None:
                return self._latest
            if missing:
                raise InputError(f"dimension {missing[0]!r} is not bound; give shapes={{{missing[0]!r}: 1}}")
            self._executable(bindings)
            assert self._latest is not None
            return self._latest

    def summary(self) -> str:
        """The first line of every run: device, threads, ISA level, kernels, layers, RAM plan."""
        if self._latest is None:
            if self._key is not None:
                return f"{self._target.words}{self._level.name}, planned at the next run"
            unbound = ", ".join(free_dims(self._model.graph))
            return f"{self._target.words}{self._level.name}, planned at the first run: {unbound} unbound"
        plan, kernels, streamed = self._latest, self._native.described, self.streamed
        if streamed is None:
            return self._target.summary(plan, kernels)
        division = streamed.store.division
        memory = replace(plan.memory, resident=division.resident_bytes, ring=division.ring)
        return f"{self._target.summary(replace(plan, memory=memory), kernels)}, {streamed.describe()}"

    @property
    def streamed(self) -> StreamedWeights | None:
        """What reads weights in every run, with `statistics` of what it did; None where they are mapped, and before
        sizes are known."""
        if self._store is None or self._latest is None:
            return None
        from edgert.runtime.stream_plan import StreamedWeights

        return StreamedWeights(self._latest, self._store)

    @property
    def kernels(self) -> str:
        """'JIT' or 'AOT', and '' while no native kernel is in use."""
        return self._native.origin

    def _executable(self, bindings: Mapping[str, int]) -> Executable | Staged:
        key: Bindings = tuple(sorted(bindings.items()))
        if key in self._ready:
            self._ready.move_to_end(key)
        else:
            self._ready[key] = self._build(bindings)
        found = self._ready[key]
        self._latest, self._key = found.plan, key
        return found

    def _build(self, bindings: Mapping[str, int]) -> Executable | Staged:
        """What runs the model at these sizes: planned as a whole, or in stages where values decide."""
        graph, tensors = self._graph, self._model.tensors
        try:
            typed = infer_types(graph, bindings)
        except NeedsValue as error:
            if self._shared is not None or self._stream == "always":
                raise UnsupportedError(
                    f"{self.info.name or 'the model'}: its shapes depend on values, so that its weights are not "
                    f"streamed and it shares no budget ({error}); give it a ram of its own"
                ) from None
            # Few models come here; the others start the sooner.
            from edgert.plan.known import plan_known
            from edgert.runtime.staged import Staged

            bound = graph.copy()
            bind_inputs(bound, bindings)
            known = plan_known(graph, tensors, bindings, **self._options)
            staged = Staged(bound, tensors, lambda part: self._plan_and_link(part, staged), known)
            return staged
        if self._bounded and self._stream != "never":
            self._join(bindings)
            streamed = self._plan_streamed(bindings, self._ram)
            fits = self._ram is None or streamed.whole <= self._ram
            if streamed.parts and (self._stream == "always" or not fits):
                return self._link_streamed(streamed)
            if streamed.parts:
                # Mapped weights may take more than they do in the file: halves are widened when they are planned.
                with suppress(MemoryBudgetError):
                    return self._plan_and_link(typed)
                return self._link_streamed(streamed)
        return self._plan_and_link(typed)

    @property
    def _bounded(self) -> bool:
        return self._ram is not None or self._shared is not None or self._stream == "always"

    def _plan_and_link(self, graph: Graph, within: Staged | None = None) -> Executable:
        """within: whose part `graph` is; it is running, and stays."""
        plan = make_plan(graph, self._model.tensors, **self._options)
        if self._store is not None:
            self._let_go()
        self._make_room(plan, within)
        return self._target.executable(plan, self._native)

    @property
    def _options(self) -> dict[str, Any]:
        """Of make_plan."""
        options = {"level": self._level, "threads": self._threads, "ram": self._ram, "sparse": self._sparse}
        return {**options, "prefer": self._target.prefer} if self._target.prefer else options

    # ---- memory
    def _plan_streamed(self, bindings: Mapping[str, int], ram: int | None) -> StreamedPlan:
        # Sessions whose weights stay where they are start the sooner.
        from edgert.runtime.stream_plan import plan_streamed

        # A copy of sparse weights with their zeros would take memory that a budget has better uses for.
        sparse = "always" if self._sparse == "auto" else self._sparse
        options = {**self._options, "ram": ram, "sparse": sparse}
        return plan_streamed(self._graph, self._model.tensors, bindings, **options)

    def _join(self, bindings: Mapping[str, int]) -> None:
        """Takes a share of the budget that several divide, once."""
        if self._shared is not None and self._share is None:
            smallest, largest = self._plan_streamed(bindings, 0), self._plan_streamed(bindings, None)
            self._share = self._shared.join(self, self.info.name or "a model", smallest.least, largest.whole)
            self._ram = self._share.nbytes

    def _link_streamed(self, streamed: StreamedPlan) -> Executable:
        """In place of all other executables: what they hold is better used for weights."""
        streamed.check(self._ram)
        native = self._native.take(streamed.plan.program.kernels, streamed.plan)
        self._let_go()
        division = streamed.divide(self._ram)
        tables = streamed.open_tables(self._checks)
        self._store = streamed.open_store(division, self._checks)
        self._model.drop_pages()
        return Executable(streamed.plan, *native, None, self._store, tables)

    def _make_room(self, plan: Plan, within: Staged | None) -> None:
        """Lets executables go until the new one fits beside the others. Weights are shared, and counted once."""
        quiet = False
        while any(ready is not within for ready in self._ready.values()) and (
            (within is None and len(self._ready) >= KEPT_PLANS) or not self._fits(plan, within)
        ):
            if not quiet:
                self._native.quiesce()
                quiet = True
            oldest = next(key for key, ready in self._ready.items() if ready is not within)
            self._latest = None
            del self._ready[oldest]
        if within is not None and not self._fits(plan, within):
            if not quiet:
                self._native.quiesce()
            within.forget()

    def _fits(self, plan: Plan, within: Staged | None) -> bool:
        held = sum(ready.held for ready in {*self._ready.values(), *([within] if within else [])})
        return self._ram is None or plan.memory.total + held <= self._ram

    def _let_go(self) -> None:
        """Drops all executables, and what reads their weights. No run is in progress."""
        self._native.quiesce()
        self._latest = None
        self._ready.clear()
        if self._store is not None:
            self._store.close()
        self._store = None

    def trim(self, ram: str | int | None = None) -> int:
        """Gives memory back to the system: from the next run on the session keeps to `ram`, such as '40M', by default
        to the smallest budget that it works with on its threads. The bytes that it may then take; 0 if that is not
        known before the next run says the sizes of dimensions.

        What was in memory is dropped at once, after a run in progress, and weights are streamed where they have no
        room: the answers are the same, only later. With a larger `ram` they stay in memory again, unless the budget is
        shared: what was given back is for others then. Raises MemoryBudgetError, and leaves all as it is, if it does
        not work with so little.
        """
        wanted = None if ram is None else parse_bytes(ram)
        with self._lock:
            self._check_open()
            least = self._least(wanted)
            if wanted is not None and wanted < least:
                raise MemoryBudgetError(
                    f"expected at least ram={least} ({show_bytes(least)}) to go on with, found {show_bytes(wanted)}"
                )
            self._let_go()
            self._model.drop_pages()
            self._ram = wanted or least or self._ram
            if self._share is not None and self._ram is not None:
                self._ram = self._share.shrink(self._ram)
            enough = self._ram or 0
        give_back()  # runs need not wait for it: in a large process it takes a second
        return enough

    def _least(self, wanted: int | None) -> int:
        """Bytes of the smallest budget that works at the sizes of the latest run, with one thread if `wanted` has no
        room for more; 0 if nothing was planned yet, or values decide."""
        if self._key is None:
            return 0
        try:
            streamed = self._plan_streamed(dict(self._key), wanted)
        except NeedsValue:
            return 0
        return streamed.whole if self._stream == "never" else streamed.least

    # ---- ending
    def close(self) -> None:
        """Frees memory and ends worker threads; waits for a run in progress. May be called twice."""
        with self._lock:
            self._closed = True
            self._let_go()
            self._native.close()
            if self._share is not None:
                self._share.leave()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def after_fork(self) -> None:
        """In the child: the workers are gone, and another thread may have held the lock."""
        self._lock = threading.Lock()
        self._native.after_fork()
        for executable in self._ready.values():
            executable.reset()
