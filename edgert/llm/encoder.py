"""Encoder: sentence embeddings from a BERT-style graph: one vector per text, pooled and normalized.

The graph gives a vector per token; how they become one is in the model's LanguageInfo. Graphs of our own converter
take `tokens` and `positions`; those exported to ONNX take `input_ids` [batch, sequence] with an attention mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgert.device.cpu import usable_cores
from edgert.errors import InputError, MemoryBudgetError, UnsupportedError
from edgert.format import Model
from edgert.graph.infer import infer_types
from edgert.graph.ir import Array
from edgert.kernels_cpu.levels import Level
from edgert.kernels_cpu.library import Progress
from edgert.llm.plans import TOKENS
from edgert.plan.budget import parse_bytes
from edgert.plan.plan import Plan
from edgert.plan.planner import make_plan
from edgert.runtime.executable import Executable
from edgert.runtime.fork import tell_after_fork
from edgert.runtime.native import Native
from edgert.runtime.options import Precision, check_sparse, check_threads
from edgert.runtime.target import Target

TOKENS_INPUT, POSITIONS_INPUT = "tokens", "positions"
IDS, MASK, SEGMENTS = "input_ids", "attention_mask", "token_type_ids"
"""Inputs of encoders, as our converter names them, and as exporters to ONNX do."""
LENGTHS = (16, 64, 256, 1024, 4096)
"""Plans are made for texts of up to so many tokens; a text takes the smallest that fits."""
ATTENTION = "GroupQueryAttention"
SMALLEST_NORM = 1e-12
"""Vectors shorter than this are not scaled up, as in PyTorch's `normalize`."""


class Encoder:
    """A text-embedding model that answers. Not for several threads at once; usable after a fork."""

    def __init__(
        self,
        model: Model,
        *,
        threads: int | None = None,
        ram: str | int | None = None,
        sparse: str = "auto",
        device: str = "cpu",
        precision: Precision = "fp32",
        level: Level | None = None,
        on_compile: Progress | None = None,
        on_build: Progress | None = None,
    ) -> None:
        """sparse, device, precision: see `edgert.load`.

        Raises UnsupportedError for a model that gives no embeddings, InputError for wrong options.
        """
        language = model.info.language
        if language is None or model.graph.states or not language.pooling:
            raise UnsupportedError(
                f"expected a text-embedding model, found {model.info.task or 'another'} with outputs "
                f"{', '.join(model.graph.outputs)}; convert an encoder such as MiniLM"
            )
        unknown = set(model.graph.inputs) - {TOKENS_INPUT, POSITIONS_INPUT, IDS, MASK, SEGMENTS}
        if unknown:
            raise UnsupportedError(f"expected inputs {IDS}, {MASK} and {SEGMENTS}, found {', '.join(sorted(unknown))}")
        check_threads(threads)
        check_sparse(sparse)
        self.model, self.language = model, language
        self._target = Target(device, level=level, on_build=on_build, precision=precision)
        self.level = self._target.choice.level
        self.threads = threads or usable_cores()
        self._ram = None if ram is None else parse_bytes(ram)
        self._sparse = sparse
        self._native = Native(self._target.choice, self.threads, on_compile)
        self._ready: dict[int, Executable] = {}
        self._exact = False
        tell_after_fork(self)

    def embed(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """The embedding [D] of a text given as token ids.

        Raises InputError for ids that do not exist, for no tokens, and for more than the model takes.
        """
        hidden = self.hidden(tokens)
        if self.language.pooling == "cls":
            vector = hidden[0]
        elif self.language.pooling == "last":
            vector = hidden[-1]
        else:
            vector = hidden.mean(axis=0, dtype=np.float32)
        if self.language.normalize:
            vector = vector / max(float(np.linalg.norm(vector)), SMALLEST_NORM)
        return np.array(vector, np.float32)

    def hidden(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """The last layer's vectors [n, D], one per token; the next call overwrites them. Raises as embed does."""
        ids = np.asarray(tokens)
        longest = self.language.context_length
        if ids.ndim != 1 or not 1 <= len(ids) <= longest or ids.dtype.kind not in "iu":
            raise InputError(f"expected 1..{longest} token ids, found {ids.dtype}{list(ids.shape)}; shorten the text")
        if not 0 <= ids.min() <= ids.max() < self.language.vocabulary:
            raise InputError(f"expected token ids 0..{self.language.vocabulary - 1}, found {ids.min()}..{ids.max()}")
        executable = self._executable(len(ids))
        if self._masked:
            hidden = executable.run(self._masked_feeds(ids))[self.model.graph.outputs[0]]
            return np.asarray(hidden[0, : len(ids)], np.float32)
        feeds = {"tokens": ids.astype(np.int32), "positions": np.arange(len(ids), dtype=np.int32)}
        return executable.run_rows(len(ids), feeds)["hidden"]

    @property
    def _masked(self) -> bool:
        """Whether the graph takes texts of one length, padded, and a mask that says what is text."""
        return IDS in self.model.graph.inputs

    def _masked_feeds(self, ids: Array) -> dict[str, Array]:
        types, length = self.model.graph.types, self._length(len(ids))
        rows = {IDS: np.full(length, max(self.language.pad, 0)), MASK: np.zeros(length), SEGMENTS: np.zeros(length)}
        rows[IDS][: len(ids)] = ids
        rows[MASK][: len(ids)] = 1
        return {name: rows[name][None].astype(types[name].dtype) for name in self.model.graph.inputs}

    def plan(self, length: int) -> Plan:
        """The plan for texts of up to `length` tokens."""
        sizes = {TOKENS: length}
        if self._masked:
            batch, sequence = self.model.graph.types[IDS].shape
            sizes = {dim: size for dim, size in ((batch, 1), (sequence, length)) if isinstance(dim, str)}
        graph = infer_types(self.model.graph, sizes)
        return make_plan(
            graph, self.model.tensors, level=self.level, threads=self.threads, ram=self._ram,
            varying_rows=not self._masked, sparse=self._sparse,
            prefer=self._target.prefer,
        )  # fmt: skip

    def _length(self, count: int) -> int:
        """Tokens of the plan that a text of `count` takes. Graphs with a mask may be for one length only."""
        longest = self.language.context_length
        if self._masked:
            sequence = self.model.graph.types[IDS].shape[1]
            if isinstance(sequence, int):
                return sequence
        return next((size for size in LENGTHS if count <= size < longest), longest)

    def _executable(self, count: int) -> Executable:
        length = count if self._exact else self._length(count)
        if length not in self._ready:
            plan = self.plan(length)
            if not self._exact and any(step.kind == "host" and step.op == ATTENTION for step in plan.steps):
                # In NumPy tokens would attend to rows that are absent: plans are for the very text, one at a time.
                self._exact = True
                return self._executable(count)
            if self._exact:
                self._ready.clear()
            self._ready[length] = self._target.executable(plan, self._native)
        return self._ready[length]

    def summary(self) -> str:
        """The first line of every run: device, threads, ISA level, kernels, layers, RAM plan."""
        executable = self._executable(1)
        return self._target.summary(executable.plan, self._native.described)

    def trim(self, ram: str | int | None = None) -> int:
        """Drops the programs and what is in memory of the mapped weights: the next text has them again, within `ram`
        from then on if it is given. The budget, 0 if there is none. Raises MemoryBudgetError, and leaves all as it is,
        where texts of the shortest length do not fit."""
        before = self._ram
        self._ram = self._ram if ram is None else parse_bytes(ram)
        try:
            if self._ram != before:
                self.plan(self._length(1))
        except MemoryBudgetError:
            self._ram = before
            raise
        self._native.quiesce()
        self._ready.clear()
        self.model.drop_pages()
        return self._ram or 0

    def close(self) -> None:
        """Ends worker threads and frees memory. May be called twice."""
        self._native.close()
        self._ready.clear()

    def after_fork(self) -> None:
        """The child has no worker threads yet."""
        self._native.after_fork()
        for executable in self._ready.values():
            executable.reset()
