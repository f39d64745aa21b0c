"""Decoder: a language model's graph planned for one token, for a few, for many, and for all logits, over one cache.

What a token is (tokenizer.py), and which one comes next (sampler.py), is not known here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgert.device.cpu import usable_cores
from edgert.errors import DeviceError, InputError, KernelError, MemoryBudgetError, UnsupportedError
from edgert.format import Model
from edgert.graph.ir import Array
from edgert.graph.neurons import with_thresholds
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.library import Progress
from edgert.llm.plans import MIN_CHUNK, Mode, Options, Plans, fitting
from edgert.llm.sampler import Largest
from edgert.llm.selection import IDS, VALUES, selected_of
from edgert.llm.streamed import StreamedWeights, cost_of
from edgert.plan.budget import MemoryUse, parse_bytes, show_bytes
from edgert.plan.lowering.api import ACTIVATIONS, KV
from edgert.plan.plan import Plan, State
from edgert.plan.stream_cost import StreamCost
from edgert.program.assembler import aligned_bytes
from edgert.runtime.executable import Executable, OpTime
from edgert.runtime.fork import tell_after_fork
from edgert.runtime.heap import give_back
from edgert.runtime.native import Native
from edgert.runtime.options import Precision, Stream, check_sparse, check_stream, check_threads
from edgert.runtime.shared_ram import Share, SharedRam
from edgert.runtime.target import Target
from edgert.stream.readers import Checks

if TYPE_CHECKING:
    from edgert.kernels_gpu.memory import Mirror
    from edgert.runtime.accelerator import Accelerator

DEFAULT_CONTEXT = 2048
"""Positions if nobody asks for more: the cache of a small model then takes tens of megabytes."""


@dataclass(frozen=True)
class CacheSlice:
    """The part of one state that belongs to the first positions: see `Decoder.export_cache`."""

    name: str
    layout: str
    data: tuple[Array, ...]


class Decoder:
    """The model's weights, the key-value cache of one sequence, and the native programs that extend it.

    Results are deterministic: they do not depend on how tokens were grouped into runs, nor on threads.
    Not for several threads at once; after a fork the child has its own copy.
    """

    def __init__(
        self,
        model: Model,
        *,
        n_ctx: int | None = None,
        threads: int | None = None,
        ram: str | int | SharedRam | None = None,
        kv: str = "f16",
        activations: str = "int8",
        chunk: int | None = None,
        sparse: str = "auto",
        stream: Stream = "auto",
        checks: Checks = "once",
        neurons: float = 1.0,
        device: str = "cpu",
        precision: Precision = "fp32",
        level: Level | None = None,
        on_compile: Progress | None = None,
        on_build: Progress | None = None,
    ) -> None:
        """n_ctx: positions of the cache; default is the model's own length, at most DEFAULT_CONTEXT. ram: a budget
        such as '300M' that weights, cache and programs must fit, or a SharedRam that several divide. kv: 'f16' or
        'int8' numbers in the cache. activations: 'int8', or 'int16' where the last digit counts: the float model's
        answers, at up to twice the work.
        chunk: most tokens of a prefill run; default by the size of the processor's cache. sparse, stream, checks: see
        `edgert.load`; a streamed model reads each weight once for a token, or for a prefill run, which is then longer.
        neurons: times the thresholds up to which neurons of a model converted with `neurons` rest; 0 computes all.
        device, precision: see `edgert.load`; the cache is there, and products of weights in 16 bits are of floats.

        Raises InputError, UnsupportedError, DeviceError or MemoryBudgetError, which says what would fit.
        """
        language = model.info.language
        if language is None or not model.graph.states:
            raise UnsupportedError(
                f"expected a language model, found {model.info.task or 'a model'} with inputs "
                f"{', '.join(model.graph.inputs)}; use edgert.load"
            )
        check_threads(threads)
        check_sparse(sparse)
        check_stream(stream, checks)
        if kv not in KV:
            raise InputError(f"kv: expected one of {', '.join(KV)}, found {kv!r}")
        if activations not in ACTIVATIONS:
            raise InputError(f"activations: expected one of {', '.join(ACTIVATIONS)}, found {activations!r}")
        model, self._neurons = replace(model, graph=with_thresholds(model.graph, neurons)), neurons
        longest = language.context_length
        self.n_ctx = min(longest, DEFAULT_CONTEXT) if n_ctx is None else n_ctx
        if isinstance(self.n_ctx, bool) or not 1 <= self.n_ctx <= longest:
            raise InputError(f"n_ctx: expected 1..{longest} positions, the model's own length, found {n_ctx!r}")
        if chunk is not None and chunk < 1:
            raise InputError(f"chunk: expected at least 1 token, found {chunk!r}")
        self.model, self.kv, self.activations, self.checks = model, kv, activations, checks
        self.vocabulary = language.vocabulary
        shared = isinstance(ram, SharedRam)
        self._target = Target(device, stream=stream, shared=shared, level=level, on_build=on_build, precision=precision)
        stream, self.level = self._target.stream, self._target.choice.level
        self.threads = threads or usable_cores()
        self.n_past = 0
        self._stream = stream
        self._ready: dict[Mode, Executable] = {}
        self._native = Native(self._target.choice, self.threads, on_compile)
        self._state: Array | None = None
        self._mirror: Mirror | None = None
        """The memory behind the state, where a device has it."""
        self._weights: StreamedWeights | None = None
        self._share: Share | None = None
        # Held for a run, so that another thread may trim between two.
        self._lock = threading.RLock()
        options = Options(
            self.n_ctx, self.level, self.threads, kv, activations, sparse, chunk, self._target.prefer,
            selected_of(self.vocabulary) if self._target.accelerator is not None else 0,
        )  # fmt: skip
        with self._lock:
            self._ram = None if ram is None or isinstance(ram, SharedRam) else parse_bytes(ram)
            if isinstance(ram, SharedRam):
                self._share = self._join(ram, options)
                self._ram = self._share.nbytes
            try:
                self._plans = fitting(model, options, self._ram, stream)
            except BaseException:
                if self._share is not None:
                    self._share.leave()
                raise
        tell_after_fork(self)

    @property
    def selected(self) -> int:
        """How many of the largest logits a device hands over where these are enough; 0 where it hands over all."""
        return self._plans.options.selected if self._target.accelerator is not None else 0

    # ---- running
    def prefill(self, tokens: Sequence[int], progress: Callable[[int, int], None] | None = None) -> None:
        """Extends the cache by `tokens`. progress: called with (tokens done, tokens in all) after each run.

        Raises InputError for ids that do not exist and for more tokens than the cache has room for.
        """
        ids = self._checked(tokens)
        done = 0
        while done < len(ids):
            done += len(self._run("prefill", ids[done:], ())[0])
            if progress is not None:
                progress(done, len(ids))

    def decode(self, token: int) -> npt.NDArray[np.float32]:
        """Extends the cache by `token`: the logits [V] of what follows it, a new array. Raises InputError."""
        return np.array(self._run("decode", self._checked([token]), ("logits",))[1]["logits"][0])

    def decode_largest(self, token: int) -> Largest:
        """The same, and of the logits the `selected` largest. Raises InputError, also where none are selected."""
        if not self.selected:
            raise InputError("expected a decoder on a device that selects the largest logits, found none; use decode")
        found = self._run("decode", self._checked([token]), (VALUES, IDS))[1]
        order = np.argsort(found[IDS][0])
        return Largest(found[IDS][0][order].astype(np.intp), found[VALUES][0][order])

    def score(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Extends the cache by `tokens`: the logits [n, V] of what follows each, a new array. Raises InputError."""
        ids = self._checked(tokens)
        result = np.empty((len(ids), self.vocabulary), np.float32)
        done = 0
        while done < len(ids):
            part, outputs = self._run("score", ids[done:], ("logits",))
            result[done : done + len(part)] = outputs["logits"]
            done += len(part)
        return result

    def truncate(self, count: int) -> None:
        """Forgets all but the first `count` positions."""
        if not 0 <= count <= self.n_past:
            raise InputError(f"expected 0..{self.n_past} positions to keep, found {count}")
        self.n_past = count

    def profile(self, token: int) -> list[OpTime]:
        """Decodes `token` op by op, timing each; the cache is left as it was."""
        self._checked([token])
        feeds = {"tokens": np.array([token], np.int32), "positions": np.array([self.n_past], np.int32)}
        with self._lock:
            executable = self._executable("decode")
            executable.run_rows(1, feeds)
            return executable.profile(feeds)

    def _checked(self, tokens: Sequence[int]) -> npt.NDArray[np.int32]:
        ids = np.asarray(tokens)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise InputError(f"expected a list of token ids, found {ids.dtype}{list(ids.shape)}")
        if ids.size and not 0 <= ids.min() <= ids.max() < self.vocabulary:
            wrong = ids[(ids < 0) | (ids >= self.vocabulary)][0]
            raise InputError(f"expected token ids 0..{self.vocabulary - 1}, found {wrong}")
        if self.n_past + len(ids) > self.n_ctx:
            raise InputError(
                f"expected at most {self.n_ctx - self.n_past} more tokens in a context of {self.n_ctx}, found "
                f"{len(ids)}; use a larger n_ctx or a shorter text"
            )
        return ids.astype(np.int32)

    def _run(
        self, many: Mode, ids: npt.NDArray[np.int32], names: Collection[str]
    ) -> tuple[npt.NDArray[np.int32], dict[str, Array]]:  # fmt: skip
        """As many of `ids` as one run takes, and the outputs in `names` for them."""
        with self._lock:
            part = ids[: self._plans.rows(many)]
            positions = np.arange(self.n_past, self.n_past + len(part), dtype=np.int32)
            executable = self._executable(self._plans.mode(len(part), many))
            outputs = executable.run_rows(len(part), {"tokens": part, "positions": positions}, names)
            self.n_past += len(part)
            return part, outputs

    # ---- planning
    def plan(self, mode: Mode) -> Plan:
        """The plan of one token, of a short run, of a prefill run or of a score run."""
        return self._plans.plan(mode)

    def _executable(self, mode: Mode) -> Executable:
        if mode not in self._ready:
            plan = self.plan(mode)
            if self._target.accelerator is not None:
                try:
                    self._ready[mode] = self._on_device(plan, self._target.accelerator)
                    return self._ready[mode]
                except (DeviceError, KernelError) as error:
                    # With the cache of another plan there, there is no way back.
                    if self._ready or not self._target.falls_back(error):
                        raise
                    self._mirror = self._state = None
            native = self._native.take(plan.program.kernels, plan)
            if self._state is None:
                self._state = self._allocate(plan.memory.state)
            if self._plans.stream and self._plans.parts and self._weights is None:
                self._weights = StreamedWeights(self._plans, self._ram, self.checks)
            weights = self._weights
            store, tables, window = (None,) * 3 if weights is None else (weights.store, weights.tables, weights.window)
            self._ready[mode] = Executable(plan, *native, self._state, store, tables, window=window)
        return self._ready[mode]

    def _on_device(self, plan: Plan, accelerator: Accelerator) -> Executable:
        """Over the cache that all plans share there."""
        if self._mirror is None:
            self._mirror = accelerator.mirror(plan.memory.state, f"the cache of {self.n_ctx} positions")
            self._state = self._mirror.host[: plan.memory.state]
        return accelerator.executable(plan, self._native.take, self._mirror)

    def _allocate(self, nbytes: int) -> Array:
        try:
            return aligned_bytes(nbytes)
        except MemoryError as error:
            raise MemoryBudgetError(
                f"the system has no {show_bytes(nbytes)} for a context of {self.n_ctx}; use a smaller n_ctx or int8 kv"
            ) from error

    def memory(self) -> MemoryUse:
        """What decode and prefill need together: weights and cache once, the rest of each. Short runs count if they
        have been planned, and always within a budget."""
        use = self._plans.memory()
        if not self._plans.stream:
            return use
        division = self._plans.divide(self._ram)
        window = self._plans.window_bytes(self._plans.slots(self._ram))
        return replace(use, resident=division.resident_bytes + window, ring=division.ring)

    def summary(self) -> str:
        """The first line of every run: device, threads, ISA level, kernels, layers, RAM plan."""
        plan = replace(self._executable("decode").plan, memory=self.memory())
        words = self._target.summary(plan, self._native.described)
        words = f"{words}, context {self.n_ctx} {self.kv}, prefill by {self._plans.chunk}"
        if self.selected:
            words = f"{words}, {self.selected} largest logits selected on the device where these are enough"
        return words if self._weights is None else f"{words}, {self._weights.describe()}"

    # ---- streaming
    @property
    def streamed(self) -> StreamedWeights | None:
        """What reads the weights, and what it did; None where they are mapped, and before the first run."""
        return self._weights

    @property
    def streamed_from(self) -> Path | None:
        """The file that weights are read from in every run; None where they are mapped."""
        return self._plans.parts[0].file if self._plans.stream else None

    def cost(self, mode: Mode = "decode") -> StreamCost | None:
        """What a run of streamed weights is predicted to take; None where they are mapped. Reads none of them."""
        if not self._plans.stream:
            return None
        division = self._plans.divide(self._ram) if self._weights is None else self._weights.store.division
        return cost_of(self._plans, division, mode)

    def trim(self, ram: str | int | None = None) -> int:
        """Gives memory back to the system: from now on `ram` bytes are enough, such as '40M', by default the fewest
        that work; returned. The cache stays as it is, weights are read again where they have no room: the answers are
        the same. Other threads may call it, and wait for one run in progress: a token, or a part of a prompt.

        What is given back of a shared budget is for others from then on. Raises MemoryBudgetError, and leaves all as it
        is, if it does not work with so little.
        """
        with self._lock:
            wanted = self._fewest(self._plans.options) if ram is None else parse_bytes(ram)
            if self._share is not None:
                wanted = min(wanted, self._share.nbytes)
            plans = fitting(self.model, self._plans.options, wanted, self._stream)
            self._let_go()
            self._plans, self._ram = plans, wanted
            self.model.drop_pages()
            if self._share is not None:
                self._share.shrink(wanted)
        give_back()  # runs need not wait for it: in a large process it takes a second
        return wanted

    def _join(self, shared: SharedRam, options: Options) -> Share:
        """A share of a budget that several divide. Its least is with the shortest prefill runs."""
        whole = Plans(self.model, options, stream=self._stream != "never", bounded=True)
        wanted = whole.whole + sum(part.nbytes for part in whole.tables)
        return shared.join(self, self.model.info.name or "a language model", self._fewest(options), wanted)

    def _fewest(self, options: Options) -> int:
        """Bytes of the smallest budget that works with this context."""
        return Plans(self.model, options, stream=self._stream != "never", bounded=True, chunk=MIN_CHUNK).least

    def _let_go(self) -> None:
        """Forgets the programs, and what reads their weights. No run is in progress."""
        self._native.quiesce()
        self._ready.clear()
        if self._weights is not None:
            self._weights.close()
        self._weights = None

    # ---- the cache as data
    @property
    def cache_kind(self) -> str:
        """What a cache must agree in, to go on with it: 'f16', 'int8', or one of these 'by int16'; and the factor of
        the thresholds of neurons where it is not the file's."""
        kind = self.kv if self.activations == "int8" else f"{self.kv} by {self.activations}"
        return kind if self._neurons == 1 else f"{kind}, neurons {self._neurons:g}"

    def export_cache(self, count: int | None = None) -> list[CacheSlice]:
        """Copies of what the first `count` positions (default: all) have in the cache, state by state."""
        count = self.n_past if count is None else count
        if not 0 <= count <= self.n_past:
            raise InputError(f"expected 0..{self.n_past} positions, found {count}")
        self._executable("decode")
        return [
            CacheSlice(state.past, state.layout, tuple(np.array(view) for view in views))
            for state, views in self._cache_views(count)
        ]

    def import_cache(self, slices: Sequence[CacheSlice], count: int) -> None:
        """Replaces the cache by `slices`, which export_cache gave for `count` positions of the same model.

        Raises InputError where they do not fit; the cache is then as it was.
        """
        if not 0 <= count <= self.n_ctx:
            raise InputError(f"expected 0..{self.n_ctx} positions, found {count}; use a larger n_ctx")
        self._executable("decode")
        targets = list(self._cache_views(count))
        expected = [(s.past, s.layout, [(v.shape, v.dtype) for v in views]) for s, views in targets]
        found = [(s.name, s.layout, [(d.shape, d.dtype) for d in s.data]) for s in slices]
        if expected != found:
            where = next((e[0] for e, f in zip(expected, found, strict=False) if e != f), "the number of states")
            raise InputError(
                f"expected a cache of {count} positions of this model with kv={self.kv!r}; {where} differs"
            )
        for (_, views), given in zip(targets, slices, strict=True):
            for view, data in zip(views, given.data, strict=True):
                view[...] = data
        if self._mirror is not None:
            self._mirror.to_device([(0, self._mirror.nbytes)])
        self.n_past = count

    def _cache_views(self, count: int) -> Iterator[tuple[State, list[Array]]]:
        """(state, views of whole groups of 16 positions) of each state; see lowering/api.py for the layouts."""
        assert self._state is not None
        if self._mirror is not None:
            self._mirror.to_host([(0, self._state.size)])
        groups = -(-count // 16)
        for state in self.plan("decode").states:
            heads, positions, depth = state.type.static_shape
            padded = -(-positions // 16) * 16
            memory = self._state[state.offset : state.offset + state.nbytes]
            element = np.dtype(np.float16 if state.layout == "kvf16" else np.int8)
            size = heads * padded * depth * element.itemsize
            numbers = memory[:size].view(element).reshape(heads, padded // 16, 16 * depth)
            views = [numbers[:, :groups]]
            if state.layout == "kvint8":
                start = -(-size // 64) * 64
                scales = memory[start : start + 4 * heads * padded].view(np.float32).reshape(heads, padded // 16, 16)
                views.append(scales[:, :groups])
            yield state, views

    # ---- ending
    def close(self) -> None:
        """Ends worker threads and frees memory. May be called twice."""
        with self._lock:
            self._let_go()
            self._native.close()
            self._state = self._mirror = None
            self.n_past = 0
            if self._share is not None:
                self._share.leave()

    def after_fork(self) -> None:
        """The child has no worker threads yet, and another thread may have held the lock."""
        self._lock = threading.RLock()
        self._native.after_fork()
        for executable in self._ready.values():
            executable.reset()
