"""The plans of a decoder, one for each kind of run, and how they fit a budget: mapped weights, or streamed ones.

Running them is decoder.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Literal

from edgert.device.cpu import private_cache
from edgert.errors import MemoryBudgetError
from edgert.format import Model
from edgert.format.encodings import NEURONS
from edgert.format.model import StoredTensor
from edgert.format.parts import FilePart, Parts
from edgert.graph.infer import infer_types
from edgert.graph.ir import Graph
from edgert.graph.prune import prune
from edgert.kernels_cpu.levels import Level
from edgert.llm.selection import with_largest
from edgert.plan.budget import MemoryUse, show_bytes
from edgert.plan.plan import LookupCall, NeuronCall, Plan
from edgert.plan.planner import make_plan
from edgert.plan.residency import divide, least, merged
from edgert.plan.split import split_products
from edgert.stream.neurons import NOTES, useful_gap, window_bytes
from edgert.stream.probe import load_storage
from edgert.stream.stages import PAGE, Division

TOKENS, CONTEXT = "T", "C"
"""Named dimensions of a decoder's graph: tokens of a run, positions of the cache."""
MIN_CHUNK, MAX_CHUNK = 16, 256
"""Tokens of a prefill run. Fewer would read the weights too often, more no longer gain."""
SPARSE_CHUNK = 128
"""At least so many where weights are sparse: the tokens of a run share the work of unpacking them."""
STREAMED_CHUNK = 1024
"""At most so many where weights are streamed: every run of a prefill reads all of them from the storage."""
CHUNK_SHARE = 8
"""A longer streamed prefill run takes at most this part of the room for weights: decoding reads less with more room."""
READ_DEPTH, READ_BYTES = 4, 1 << 20
"""Reads at a time of a store, and bytes of each."""
SCORE_BYTES = 32 << 20
"""Logits of a score run: at most this, and at least one row."""
MAX_SCORE_CHUNK = 64
FEW = 8
"""Tokens of a short run, of which the logits are asked for or not: its products stream the weights as for one token."""
PIECES = 64
"""Products are cut for streaming so that none has more than this part of all weights: a small ring is enough."""
SMALLEST_PIECE, LARGEST_PIECE = 256 << 10, 8 << 20
LARGEST_SPARSE_PIECE = 2 << 20
"""Judging a sparse piece when it arrives takes several times its bytes, beside the budget."""
SKIPPED = 4.0
"""Neurons between two that have to be read, about: as many a window of the last tokens leaves. What is read in the time
of another read must be less, or reading whole layers ahead of their use is faster."""
CONTEXT_STEP = 16
"""Contexts that an error message suggests are multiples of this."""

Mode = Literal["decode", "few", "prefill", "score"]
MODES: tuple[Mode, ...] = ("decode", "few", "prefill", "score")


@dataclass(frozen=True)
class Options:
    """What the plans are for. chunk: most tokens of a prefill run, None to choose. prefer: kernels that a device has,
    see make_plan. selected: how many of the largest logits decoding finds as well. The rest as for Decoder."""

    n_ctx: int
    level: Level
    threads: int
    kv: str
    activations: str
    sparse: str
    chunk: int | None = None
    prefer: frozenset[str] = frozenset()
    selected: int = 0


class Plans:
    """The plans for `model`, made when they are asked for. stream: its weights are streamed. bounded: a budget is to be
    kept. chunk: tokens of a prefill run, by default as the options say."""

    def __init__(
        self, model: Model, options: Options, *, stream: bool = False, bounded: bool = False, chunk: int = 0,
        sparse: str = "",
    ) -> None:  # fmt: skip
        self.model, self.options, self.stream, self.bounded = model, options, stream, bounded
        self.sparse = sparse or options.sparse
        self.graph: Graph = model.graph
        self.tensors: Mapping[str, StoredTensor] = model.tensors
        self._plans: dict[Mode, Plan] = {}
        self._divisions: dict[int | None, Division] = {}
        if stream:
            # A copy of sparse weights with their zeros would take memory, and the file would be read for nothing.
            self.sparse = "always" if self.sparse == "auto" and self.has_sparse else self.sparse
            largest = LARGEST_SPARSE_PIECE if self.has_sparse else LARGEST_PIECE
            limit = min(max(weight_bytes(model) // PIECES, SMALLEST_PIECE), largest)
            split = split_products(self.graph, self.tensors, limit)
            self.graph, self.tensors = split.graph, split.tensors
        smallest = SPARSE_CHUNK if self.has_sparse else MIN_CHUNK
        self.chunk = min(chunk or options.chunk or max(smallest, chunk_for(model.graph)), options.n_ctx)

    def by(self, chunk: int) -> Plans:
        """The same with prefill runs of `chunk` tokens. Plans that do not depend on it are kept."""
        other = copy(self)
        other.chunk = min(chunk, self.options.n_ctx)
        other._divisions = {}
        other._plans = {mode: plan for mode, plan in self._plans.items() if other.rows(mode) == self.rows(mode)}
        return other

    # ---- one by one
    def plan(self, mode: Mode) -> Plan:
        """The plan of one token, of a short run, of a prefill run or of a score run."""
        if mode not in self._plans:
            self._plans[mode] = self._make_plan(mode, self.rows(mode))
        return self._plans[mode]

    def rows(self, mode: Mode) -> int:
        """The most tokens of a run."""
        if mode == "decode":
            return 1
        if mode == "prefill":
            return self.chunk
        language = self.model.info.language
        vocabulary = language.vocabulary if language is not None else 0
        score = max(1, min(self.chunk, MAX_SCORE_CHUNK, SCORE_BYTES // (4 * vocabulary or 1)))
        # The logits of many tokens have no place in a budget that has none for the weights.
        return score if mode == "score" and not self.stream else min(FEW, score)

    def mode(self, count: int, many: Mode) -> Mode:
        """The cheapest mode for `count` tokens: the cache and the logits are the same in all."""
        if count == 1:
            return "decode"
        return "few" if count <= self.rows("few") else many

    def _make_plan(self, mode: Mode, rows: int) -> Plan:
        options = self.options
        graph = prune(self.graph, [] if mode == "prefill" else ["logits"])
        if mode == "decode" and options.selected:
            graph = with_largest(graph, options.selected)
        graph = infer_types(graph, {TOKENS: rows, CONTEXT: options.n_ctx})
        return make_plan(
            graph, self.tensors, level=options.level, threads=options.threads, kv=options.kv,
            activations=options.activations, varying_rows=rows > 1, sparse=self._side(mode), stream=self.stream,
            neurons=self.stream and self._skips(), prefer=options.prefer,
        )  # fmt: skip

    def _side(self, mode: Mode) -> str:
        """What decoding does with sparse weights, all modes do: a second copy would take memory for little time."""
        if self.sparse != "auto" or mode == "decode" or not self.has_sparse:
            return self.sparse
        return "always" if any(step.sparse for step in self.plan("decode").steps) else "never"

    def _skips(self) -> bool:
        """Whether neurons are read one by one: all alike, and so large that skipping some of them saves time."""
        sizes, place = set(), None
        for tensor in self.tensors.values():
            if tensor.encoding in NEURONS and isinstance(tensor.parts, Parts):
                sizes.add(tensor.nbytes // tensor.shape[0])
                place = tensor.parts.place("data")
        if len(sizes) != 1 or place is None:
            return False
        return useful_gap(load_storage(place.file).bandwidth) <= SKIPPED * min(sizes)

    @property
    def has_sparse(self) -> bool:
        return any(tensor.sparse for tensor in self.model.tensors.values())

    # ---- together
    def memory(self) -> MemoryUse:
        """What decode and prefill need together: weights and cache once, the rest of each; of streamed weights nothing.
        Short runs count if they have been planned, and always within a budget."""
        uses = [self.plan(mode).memory for mode in self._counted()]
        return replace(
            self.plan("prefill").memory, arena=sum(u.arena for u in uses), constants=sum(u.constants for u in uses),
            weights=max(u.weights for u in uses), scratch=sum(u.scratch for u in uses),
            records=sum(u.records for u in uses), host=max(u.host for u in uses),
        )  # fmt: skip

    def _counted(self) -> Iterator[Mode]:
        yield from ("decode", "prefill")
        if self.bounded or "few" in self._plans:
            yield "few"

    @property
    def parts(self) -> list[FilePart]:
        """The weights that are streamed, in the order of decoding."""
        return merged([part for _, part in self.plan(mode).uses] for mode in ("decode", "prefill", "few"))

    @property
    def tables(self) -> tuple[FilePart, ...]:
        """The tables that rows are looked up in."""
        return tuple(dict.fromkeys(call.part for call in self.plan("decode").schedule if isinstance(call, LookupCall)))

    @property
    def looked_up(self) -> int:
        """Bytes that decoding a token reads of tables."""
        return sum(call.nbytes for call in self.plan("decode").schedule if isinstance(call, LookupCall))

    @property
    def neurons(self) -> tuple[NeuronCall, ...]:
        """The layers whose neurons are read one by one."""
        return self.plan("decode").neurons

    def _counts(self) -> list[int]:
        """Neurons of each of them."""
        return [call.part.nbytes // call.nbytes for call in self.neurons]

    def slots(self, ram: int | None) -> int:
        """Places for neurons within a budget of `ram` bytes in all; None: for all of them. They get of the room for
        weights the part that they are of all weights, and room for the largest layer at least."""
        counts = self._counts()
        if not counts or ram is None:
            return sum(counts)
        space, nbytes = ram - self.memory().total, self.neurons[0].nbytes
        others = sum(part.nbytes for part in dict.fromkeys(self.parts))
        own = sum(call.part.nbytes for call in self.neurons)
        room = min(space * own // (own + others), space - least(self.parts)) - window_bytes(sum(counts), nbytes, 0)
        return max(max(counts), min(sum(counts), room // (nbytes + NOTES)))

    def window_bytes(self, slots: int) -> int:
        """Memory for `slots` neurons of all layers."""
        return window_bytes(sum(self._counts()), self.neurons[0].nbytes, slots) if self.neurons else 0

    @property
    def least(self) -> int:
        """Bytes of the smallest budget that works, with runs as they are planned now."""
        window = self.window_bytes(max(self._counts(), default=0))
        return self.memory().total + (least(self.parts) + window if self.stream else 0)

    @property
    def whole(self) -> int:
        """Bytes with all weights in memory."""
        weights = sum(part.nbytes + 2 * PAGE for part in dict.fromkeys(self.parts))
        return self.memory().total + weights + self.window_bytes(sum(self._counts()))

    def divide(self, ram: int | None) -> Division:
        """What of the weights stays within a budget of `ram` bytes in all; None: everything. Raises MemoryBudgetError
        for less than `least`."""
        if ram not in self._divisions:
            space = 2 * self.whole if ram is None else ram - self.memory().total
            self._divisions[ram] = divide(self.parts, space - self.window_bytes(self.slots(ram)))
        return self._divisions[ram]


def fitting(model: Model, options: Options, ram: int | None, stream: str) -> Plans:
    """Plans that keep to `ram` bytes. stream: 'auto' for weights that have no room, 'always', 'never'.

    Mapped: halves the prefill run until everything fits, at last does without dense copies of sparse weights.
    Raises MemoryBudgetError, which says what would fit.
    """
    if stream == "always":
        return _streamed(model, options, ram)
    if ram is None:
        return Plans(model, options)
    # Planning for mapped weights reads and checks them: it is not even tried where they alone are too many.
    if stream == "never" or weight_bytes(model) <= ram:
        try:
            return _mapped(model, options, ram)
        except MemoryBudgetError:
            if stream == "never":
                raise
            model.drop_pages()
    return _streamed(model, options, ram)


def _mapped(model: Model, options: Options, ram: int) -> Plans:
    plans = Plans(model, options, bounded=True)
    while (use := plans.memory()).total > ram:
        if plans.chunk > MIN_CHUNK:
            plans = plans.by(max(MIN_CHUNK, plans.chunk // 2))
        elif plans.sparse == "auto" and plans.has_sparse:
            plans = Plans(model, options, bounded=True, chunk=plans.chunk, sparse="always")
        else:
            raise MemoryBudgetError(
                f"expected a plan within {show_bytes(ram)}, found {use.describe()} with a context of {options.n_ctx}; "
                f"the smallest budget that works is ram={use.total} ({show_bytes(use.total)}), or use a smaller "
                "n_ctx, kv='int8' or int4 weights"
            )
    return plans


def _streamed(model: Model, options: Options, ram: int | None) -> Plans:
    """With prefill runs so long that computing takes as long as reading, unless that leaves weights too little room."""
    plans = Plans(model, options, stream=True, bounded=True, chunk=min(options.chunk or MIN_CHUNK, MIN_CHUNK))
    if ram is not None and plans.least > ram:
        raise MemoryBudgetError(_advice(plans, ram))
    smallest, most = plans.memory().total, min(options.chunk or STREAMED_CHUNK, options.n_ctx)
    chunk = min(options.chunk or max(chunk_for(model.graph), _as_long_as_reading(plans, ram)), most)
    while chunk > plans.chunk:
        longer = plans.by(chunk)
        if ram is None or (longer.least <= ram and longer.memory().total - smallest <= (ram - smallest) // CHUNK_SHARE):
            return longer
        chunk //= 2
    return plans


def _as_long_as_reading(plans: Plans, ram: int | None) -> int:
    """Tokens of a prefill run that takes as long to compute as to read, as the runs of `plans` are predicted; a power
    of 2."""
    if not plans.parts:
        return plans.chunk
    seconds = plans.divide(ram).streamed_bytes / load_storage(plans.parts[0].file).bandwidth(READ_BYTES, READ_DEPTH)
    tokens = plans.chunk * 1e6 * seconds / plans.plan("prefill").predicted_us
    return 1 << min(round(tokens), STREAMED_CHUNK).bit_length()


def _advice(plans: Plans, ram: int) -> str:
    """What is missing, and what would fit: each suggestion was planned."""
    options, needed = plans.options, plans.least
    fits = [_context(plans, ram)]
    if options.kv != "int8":
        short = _again(plans, replace(options, kv="int8"))
        context = _context(short, ram)
        fits.append(context and ("--kv int8" if short.least <= ram else f"--kv int8 {context}"))
    fits = [flags for flags in fits if flags]
    return (
        f"expected a plan within {show_bytes(ram)}, found {plans.memory().describe()} and "
        f"{show_bytes(least(plans.parts))} to stream weights through, with a context of {options.n_ctx}; the smallest "
        f"budget that works is ram={needed} ({show_bytes(needed)})"
        + (f"; within {show_bytes(ram)} fits {' or '.join(fits)}" if fits else "")
    )


def _again(plans: Plans, options: Options) -> Plans:
    return Plans(plans.model, options, stream=True, bounded=True, chunk=plans.chunk)


def _context(plans: Plans, ram: int) -> str:
    """'--n-ctx N' for a context that fits `ram`, about the longest; '' if none does."""
    while plans.least > ram:
        each = max(1, plans.memory().state // plans.options.n_ctx)
        tokens = plans.options.n_ctx - max(CONTEXT_STEP, -(-(plans.least - ram) // each))
        tokens = tokens // CONTEXT_STEP * CONTEXT_STEP
        if tokens <= 0:
            return ""
        plans = _again(plans, replace(plans.options, n_ctx=tokens))
    return f"--n-ctx {plans.options.n_ctx}"


def weight_bytes(model: Model) -> int:
    """Of all that a run uses, as stored."""
    used = model.graph.used()
    return sum(tensor.nbytes for name, tensor in model.tensors.items() if name in used)


def chunk_for(graph: Graph) -> int:
    """Tokens of a prefill run such that what one layer passes on stays in a core's own cache."""
    widths = [
        graph.types[node.inputs[1]].shape[0]
        for node in graph.nodes
        if node.op == "Gemm" and node.outputs[0] not in graph.outputs and node.inputs[1] in graph.types
    ]
    widest = max((size for size in widths if isinstance(size, int)), default=1)
    tokens = private_cache() // (4 * widest)
    return max(MIN_CHUNK, min(MAX_CHUNK, tokens // MIN_CHUNK * MIN_CHUNK))
