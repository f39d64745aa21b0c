"""Graph -> Plan: asks the rules, chooses, lays out memory, and writes down what was decided and why.

The graph must have static shapes (graph/infer.py). Nothing of the model's size is allocated here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgert.device.cpu import last_cache, private_cache
from edgert.errors import UnsupportedError
from edgert.format.model import StoredTensor
from edgert.format.parts import FilePart
from edgert.graph.ir import Array, Graph, TensorType
from edgert.kernels_cpu.abi import RECORD_BYTES
from edgert.kernels_cpu.control import SYNC_BYTES
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.reference import Quant
from edgert.kernels_cpu.registry import kernels
from edgert.plan.budget import MemoryUse, enforce
from edgert.plan.cost import SCALING, Peaks, load_peaks, predict_us
from edgert.plan.emitter import Lookup, PlanEmitter, Selection
from edgert.plan.layout import choose
from edgert.plan.lowering.api import Buffer, Offer, Refusal, layout_nbytes
from edgert.plan.lowering.layout import conversion
from edgert.plan.memory import Arrangement
from edgert.plan.offers import RENAMES, Options, options_of
from edgert.plan.plan import Call, HostCall, LookupCall, NativeRun, NeuronCall, Plan, Slot, Source, State, Step
from edgert.plan.states import state_layouts
from edgert.plan.work import node_bytes, node_macs
from edgert.program import verify

ONE_THREAD_US = 100.0
"""Predicted for one thread; below this a program does not gain from waking others."""

LAST_CACHE_SHARE = 0.5
"""Weights that take no more of the last cache, which others use as well, are still there at the next run."""

HOST_COPIES = 2
"""A reference operator holds about this many times its inputs and outputs while it computes: an estimate."""

Key = tuple[str, str]
"""A value: (tensor, layout)."""


def make_plan(
    graph: Graph,
    tensors: Mapping[str, StoredTensor],
    *,
    level: Level,
    threads: int,
    ram: int | None = None,
    peaks: Peaks | None = None,
    kv: str = "f16",
    activations: str = "int8",
    varying_rows: bool = False,
    sparse: str = "auto",
    stream: bool = False,
    neurons: bool = False,
    prefer: frozenset[str] = frozenset(),
) -> Plan:
    """The plan for `graph` on up to `threads` threads; short programs get one.

    tensors: the stored constants of the model. peaks: default is what is known of this machine. kv: how
    key-value caches keep their numbers. activations: what meets weights in groups, see api.ACTIVATIONS.
    varying_rows: a run may have fewer rows (tokens) than the first dimension of the inputs says, see emitter.ROWS.
    sparse: whether kernels that skip zeros run, see api.SPARSE; where they do not, sparse weights are expanded, unless
    `ram` has no room for that. stream: weights that lie in a file are not taken but named in Plan.weights, for others
    to read; `ram` then is what all the rest may take. neurons: those made of neurons are read neuron by neuron.
    prefer: kernels that another device has too, for a plan that is to be placed there, see devices.py.
    Raises MemoryBudgetError if it needs more than `ram` bytes, UnsupportedError if no plan exists.
    """
    peaks = peaks or load_peaks(level)
    options = (kv, activations, varying_rows, sparse, stream, neurons, prefer)
    plan = _Planner(graph, tensors, level, threads, peaks, *options).plan()
    if sparse == "auto" and ram is not None and plan.memory.total > ram:
        options = (kv, activations, varying_rows, "always", stream, neurons, prefer)
        plan = _Planner(graph, tensors, level, threads, peaks, *options).plan()
    single: Plan | None = None
    if threads > 1:
        shared_us = sum(step.predicted_us for step in plan.steps if step.kind != "host")
        alone_us = shared_us * threads**SCALING
        if alone_us < ONE_THREAD_US or (ram is not None and plan.memory.total > ram):
            single = _Planner(graph, tensors, level, 1, peaks, *options).plan()
        if alone_us < ONE_THREAD_US and single is not None:
            plan = single
    enforce(plan.memory, ram, smallest=single.memory if single else None, threads=plan.threads)
    verify(plan.program, level)
    return plan


@dataclass
class _Task:
    """A step to come: which values it reads and makes. `offer` None means the host operator."""

    name: str
    op: str
    offer: Offer | None
    options: Options | None
    reads: tuple[Key | Array | None, ...]
    makes: tuple[Key, ...]
    predicted_us: float
    shares: bool = False
    """The output is the input's bytes."""


class _Planner:
    def __init__(
        self, graph: Graph, tensors: Mapping[str, StoredTensor], level: Level, threads: int, peaks: Peaks, kv: str,
        activations: str, varying_rows: bool, sparse: str, stream: bool, neurons: bool,
        prefer: frozenset[str],
    ) -> None:  # fmt: skip
        self.graph, self.tensors = graph, tensors
        self.level, self.threads, self.peaks = level, threads, peaks
        self.kv, self.activations, self.varying_rows, self.sparse = kv, activations, varying_rows, sparse
        self.stream, self.neurons, self.prefer = stream, neurons, prefer
        self._seen = {name: tensors[name].apart() for name in graph.used() if name in tensors} if stream else tensors
        self._inputs = [name for name in graph.inputs if name not in graph.states]
        self._states: dict[str, str] = {}
        self._conversions: dict[tuple[str, str, str], Offer | Refusal] = {}
        self._dense: dict[str, Array] = {}

    # ---- choosing
    def plan(self) -> Plan:
        graph = self.graph
        weights = sum(self.tensors[name].nbytes for name in graph.used() if name in self.tensors)
        resident = weights <= max(private_cache() * self.threads, LAST_CACHE_SHARE * last_cache())
        every = [
            options_of(
                node, graph, self._seen, self.level, self.threads, self.peaks, self.kv, self.activations,
                self.sparse, resident, self.prefer,
            )
            for node in graph.nodes
        ]  # fmt: skip
        presents = set(graph.states.values())
        outputs = [name for name in graph.outputs if not self._is_constant(name) and name not in presents]
        chosen = choose([o.candidates for o in every], self._inputs, outputs, self._conversion_cost)
        self._states = state_layouts(graph.states, every, chosen)
        tasks = list(self._tasks(every, chosen, outputs))
        return self._lay_out(tasks, outputs)

    def _is_constant(self, name: str) -> bool:
        return name in self.graph.constants or name in self.tensors

    def _constant(self, name: str) -> Array:
        """Row-major values of a constant, unpacked once."""
        if name in self.graph.constants:
            return self.graph.constants[name]
        if name not in self._dense:
            self._dense[name] = self.tensors[name].dense()
        return self._dense[name]

    def _conversion(self, tensor: str, source: str, target: str) -> Offer | Refusal:
        key = (tensor, source, target)
        if key not in self._conversions:
            kind = self.graph.types[tensor]
            self._conversions[key] = conversion(kind, source, target, self.level, self.threads)
        return self._conversions[key]

    def _conversion_us(self, offer: Offer) -> float:
        return 0.0 if offer.in_place is not None else predict_us(offer, self.peaks, self.threads)

    def _conversion_cost(self, tensor: str, source: str, target: str) -> float:
        offer = self._conversion(tensor, source, target)
        return math.inf if isinstance(offer, Refusal) else self._conversion_us(offer)

    # ---- the steps in order, conversions where they are first needed
    def _tasks(self, every: list[Options], chosen: list[int], outputs: list[str]) -> Iterator[_Task]:
        made: dict[str, list[str]] = {name: [self._states.get(name, "row")] for name in self.graph.inputs}

        def converted(key: Key) -> Iterator[_Task]:
            tensor, layout = key
            if layout in made[tensor]:
                return
            source = min(made[tensor], key=lambda have: self._conversion_cost(tensor, have, layout))
            offer = self._conversion(tensor, source, layout)
            if isinstance(offer, Refusal):
                raise UnsupportedError(
                    f"tensor {tensor!r} is needed in layout {layout} and made in {source}: {offer.why}"
                )
            made[tensor].append(layout)
            yield _Task(
                tensor, f"{source} -> {layout}", offer, None, ((tensor, source),), (key,),
                self._conversion_us(offer), shares=offer.in_place is not None,
            )  # fmt: skip

        for options, index in zip(every, chosen, strict=True):
            node, candidate = options.node, options.candidates[index]
            offer, cost = options.options[index]
            for key in candidate.takes:
                yield from converted(key)
            shares = offer is not None and offer.in_place is not None and node.op in RENAMES
            layouts = offer.out_layouts if offer is not None else ("row",) * len(options.site.outputs)
            makes = tuple(zip(filter(None, node.outputs), layouts, strict=True))
            yield _Task(node.name, node.op, offer, options, tuple(self._reads(options, offer)), makes, cost, shares)
            for tensor, layout in makes:
                made.setdefault(tensor, []).append(layout)
        for name in outputs:
            yield from converted((name, "row"))

    def _reads(self, options: Options, offer: Offer | None) -> Iterator[Key | Array | None]:
        node = options.node
        wants = offer.in_layouts if offer is not None else ("row",) * len(node.inputs)
        for name, layout in zip(node.inputs, wants, strict=True):
            if not name or layout is None:
                yield None
            elif self._is_constant(name):
                yield self._constant(name)
            else:
                yield name, layout

    # ---- memory and ops
    def _lay_out(self, tasks: list[_Task], outputs: list[str]) -> Plan:
        graph, end = self.graph, len(tasks) + 1
        emitter = PlanEmitter(varying_rows=self.varying_rows, stream=self.stream, neurons=self.neurons)
        entries = [(name, self._states.get(name, "row")) for name in graph.inputs]
        root, last = _lifetimes(tasks, entries, outputs, end)
        buffers = self._state_buffers(emitter)
        for name in self._inputs:
            key = (name, "row")
            buffers[key] = emitter.block(layout_nbytes(graph.types[name], "row"), last[root[key]])
        spans: list[tuple[int, int]] = []
        for step, task in enumerate(tasks, 1):
            emitter.step, emitter.node = step, task.name
            reads = tuple(r if r is None else self._read(r, buffers, emitter, task) for r in task.reads)
            for index, key in enumerate(task.makes):
                if key in buffers:  # the present of a state
                    continue
                taken = self._taken(task, step, index, root, last)
                if taken is not None:
                    buffers[key] = buffers[taken]
                    emitter.extend(buffers[key], last[root[key]])
                else:
                    nbytes = layout_nbytes(graph.types[key[0]], key[1])
                    buffers[key] = emitter.block(nbytes, last[root[key]])
            first = len(emitter.ops)
            if task.offer is not None:
                task.offer.emit(emitter, reads, tuple(buffers[key] for key in task.makes))
            spans.append((first, len(emitter.ops) - first))
        return self._assemble(tasks, spans, buffers, emitter, outputs)

    def _state_buffers(self, emitter: PlanEmitter) -> dict[Key, Buffer]:
        """Past and present of each state: the same memory."""
        sizes = [layout_nbytes(self.graph.types[past], layout) for past, layout in self._states.items()]
        placed = emitter.place_states(sizes)
        buffers: dict[Key, Buffer] = {}
        for (past, layout), buffer in zip(self._states.items(), placed, strict=True):
            buffers[past, layout] = buffers[self.graph.states[past], layout] = buffer
        return buffers

    def _read(
        self, read: Key | Array, buffers: Mapping[Key, Buffer], emitter: PlanEmitter, task: _Task
    ) -> Buffer | None:
        if isinstance(read, tuple):
            return buffers[read]
        return emitter.constant(read) if task.offer is not None else None

    def _taken(
        self, task: _Task, step: int, output: int, root: Mapping[Key, Key], last: Mapping[Key, int]
    ) -> Key | None:
        """The input whose memory this output takes over, if any."""
        offer = task.offer
        if offer is None or offer.in_place is None or output != 0:
            return None
        key = task.reads[offer.in_place]
        if not isinstance(key, tuple):
            return None
        if task.shares:
            return key
        target = task.makes[0]
        fits = layout_nbytes(self.graph.types[key[0]], key[1]) == layout_nbytes(self.graph.types[target[0]], target[1])
        others = sum(isinstance(r, tuple) and root[r] == root[key] for r in task.reads)
        return key if fits and others == 1 and last[root[key]] == step else None

    def _assemble(
        self,
        tasks: list[_Task],
        spans: list[tuple[int, int]],
        buffers: Mapping[Key, Buffer],
        emitter: PlanEmitter,
        outputs: list[str],
    ) -> Plan:
        graph = self.graph
        program, arrangement = emitter.finish()
        steps = tuple(self._step(task, span, emitter) for task, span in zip(tasks, spans, strict=True))

        def slot(name: str) -> Slot:
            return Slot(arrangement.offsets[buffers[name, "row"].key], graph.types[name])

        schedule: list[Call] = []
        lookups = {lookup.step: lookup for lookup in emitter.lookups}
        selections = {selection.op: selection for selection in emitter.selections}
        for index, (task, (first, count)) in enumerate(zip(tasks, spans, strict=True)):
            if index + 1 in lookups:
                schedule.append(self._lookup_call(lookups[index + 1], task, arrangement))
            if task.offer is None:
                schedule.append(self._host_call(index, task, slot))
            for op in range(first, first + count):
                if op in selections:
                    schedule.append(_neuron_call(selections[op], arrangement))
                if schedule and isinstance(schedule[-1], NativeRun):
                    schedule[-1] = NativeRun(schedule[-1].first, schedule[-1].count + 1)
                else:
                    schedule.append(NativeRun(op, 1))
        presents = set(graph.states.values())
        results: dict[str, Slot | Array] = {
            name: slot(name) if name in outputs else self._constant(name)
            for name in graph.outputs
            if name not in presents
        }
        states = tuple(
            State(past, graph.states[past], graph.types[past], layout, emitter.state_offset(buffer), buffer.nbytes)
            for past, layout in self._states.items()
            for buffer in [buffers[past, layout]]
        )
        return Plan(
            self.level, self.threads, steps, program, tuple(schedule), {name: slot(name) for name in self._inputs},
            results, emitter.constant_bytes(), emitter.weight_parts,
            self._memory(tasks, program.scratch, emitter, arrangement), arrangement.bound, self.peaks.source, states,
        )  # fmt: skip

    def _step(self, task: _Task, span: tuple[int, int], emitter: PlanEmitter) -> Step:
        first, count = span
        offer, options = task.offer, task.options
        rejected: tuple[str, ...] = ()
        if options is not None:
            slower = [
                f"{self._listed(other)} {_arrow(other)}: predicted {cost:.1f} us, no faster with its conversions"
                for other, cost in options.options
                if other is not None and other is not offer
            ]
            rejected = (*options.refusals, *slower) if offer is not None else tuple(slower)
        if offer is None:
            assert options is not None
            kind, kernel = "host", f"host:{task.op}"
            reason = "; ".join(options.refusals) or "predicted faster than its native kernels"
            site = options.site
            macs = node_macs(site.node, site.inputs, site.outputs)
            nbytes = node_bytes(site.inputs, site.outputs)
        else:
            kind = "convert" if options is None else "native"
            kind, kernel = ("free", "none") if not count else (kind, self._listed(offer))
            reason, macs, nbytes = offer.reason, offer.macs, offer.nbytes
        chunks = max((op.chunks for op in emitter.ops[first : first + count]), default=0)
        predicted = task.predicted_us
        if offer is not None and count:
            # Known only now: no more threads can help than there are chunks.
            predicted = predict_us(offer, self.peaks, max(1, min(self.threads, chunks)))
        return Step(
            task.name, task.op, kind, kernel, reason, rejected,
            tuple(read[1] for read in task.reads if isinstance(read, tuple)), tuple(key[1] for key in task.makes),
            predicted, macs, nbytes, chunks, first, count, offer.sparse if offer is not None else "",
        )  # fmt: skip

    def _listed(self, offer: Offer) -> str:
        return kernels()[offer.kernel].listed(self.level)

    def _host_call(self, index: int, task: _Task, slot: Callable[[str], Slot]) -> HostCall:
        assert task.options is not None
        node, graph = task.options.node, self.graph
        sources: list[Source] = [slot(read[0]) if isinstance(read, tuple) else read for read in task.reads]
        kinds_in = [graph.types[name] if name else None for name in node.inputs]
        kinds_out = [graph.types[name] if name else None for name in node.outputs]
        return HostCall(
            index, node, tuple(sources), tuple(slot(name) if name else None for name in node.outputs),
            tuple(_quant(kind) for kind in kinds_in), tuple(_quant(kind) for kind in kinds_out),
            tuple(kind.dtype if kind is not None else "" for kind in kinds_out),
        )  # fmt: skip

    def _lookup_call(self, lookup: Lookup, task: _Task, arrangement: Arrangement) -> LookupCall:
        """See plan.py. The indices are the one input of the node that is no constant."""
        (read,) = (read for read in task.reads if isinstance(read, tuple))
        kind = self.graph.types[read[0]]
        at = arrangement.offsets
        places = Slot(at[lookup.places.key], TensorType("int32", (kind.numel,)))
        indices = Slot(at[lookup.indices.key], TensorType(kind.dtype, (kind.numel,)))
        return LookupCall(
            lookup.step - 1, lookup.part, lookup.rows, lookup.lines, lookup.nbytes, indices, at[lookup.window.key],
            places, self.varying_rows,
        )  # fmt: skip

    def _memory(self, tasks: list[_Task], scratch: int, emitter: PlanEmitter, arrangement: Arrangement) -> MemoryUse:
        mapped = {id(part): part.nbytes for part in emitter.weight_parts if not isinstance(part, FilePart)}
        unpacked = {id(array): array.nbytes for array in self._dense.values()}
        host = 0
        for task in tasks:
            if task.offer is None and task.options is not None:
                kinds = (*task.options.site.inputs, *task.options.site.outputs)
                host = max(host, HOST_COPIES * sum(kind.nbytes for kind in kinds if kind is not None))
                for read in task.reads:
                    if read is not None and not isinstance(read, tuple) and id(read) not in unpacked:
                        mapped[id(read)] = read.nbytes
        return MemoryUse(
            arena=arrangement.nbytes,
            constants=emitter.constant_bytes().nbytes + sum(unpacked.values()),
            weights=sum(mapped.values()),
            scratch=self.threads * scratch,
            records=len(emitter.ops) * (RECORD_BYTES + (SYNC_BYTES if self.threads > 1 else 0)),
            host=host,
            state=emitter.state_nbytes,
        )


def _lifetimes(
    tasks: list[_Task], inputs: list[Key], outputs: list[str], end: int
) -> tuple[dict[Key, Key], dict[Key, int]]:
    """(value -> the value whose memory it is, that value -> the last step that reads it). A value nobody reads
    lives at the step that makes it."""
    root: dict[Key, Key] = {key: key for key in inputs}
    last: dict[Key, int] = {key: 0 for key in root}
    for step, task in enumerate(tasks, 1):
        keys = [read for read in task.reads if isinstance(read, tuple)]
        for key in keys:
            last[root[key]] = step
        for key in task.makes:
            root[key] = root[keys[0]] if task.shares and keys else key
            last[root[key]] = step
    for name in outputs:
        last[root[name, "row"]] = end
    return root, last


def _neuron_call(selection: Selection, arrangement: Arrangement) -> NeuronCall:
    """See plan.py."""
    listed, slots = (arrangement.offsets[buffer.key] for buffer in (selection.listed, selection.slots))
    return NeuronCall(selection.step - 1, selection.part, selection.nbytes, listed, slots)


def _arrow(offer: Offer) -> str:
    """'kp>row': the layouts an offer takes and makes."""
    return f"{'/'.join(dict.fromkeys(filter(None, offer.in_layouts)))}>{'/'.join(dict.fromkeys(offer.out_layouts))}"


def _quant(kind: TensorType | None) -> Quant | None:
    quant = None if kind is None else kind.quant
    return None if quant is None else Quant(quant.scale, quant.zero_point, quant.axis)
