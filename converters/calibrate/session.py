"""Executes graphs for calibration and reports: little work on the reference operators, much on the runtime.
Compiling kernels takes seconds, so they must be earned; a graph the runtime can not plan stays with the reference."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from edgert.converters.calibrate.collect import Feeds, Progress
from edgert.converters.pack import pack_model
from edgert.errors import EdgertError
from edgert.format import ModelInfo
from edgert.graph.execute import run_graph
from edgert.graph.infer import infer_types
from edgert.graph.ir import Array, Graph

if TYPE_CHECKING:
    from edgert.runtime.session import Session

REFERENCE_WORK = 30_000_000_000
"""Multiply-adds done by the reference before kernels are compiled: about as long as compiling takes. A count
and not a time, so that the same conversion always gives the same file."""

KEPT_SESSIONS = 2
"""A report runs the float and the quantized graph in turn."""


class SessionExecutor:
    """execute(graph, feeds), as `collect` and the report take it. progress hears of kernels being compiled."""

    def __init__(self, threads: int | None = None, progress: Progress | None = None) -> None:
        self._threads, self._progress = threads, progress
        self._sessions: list[tuple[Graph, Session | None]] = []
        self._work = 0

    def __call__(self, graph: Graph, feeds: Feeds) -> dict[str, Array]:
        """The values of graph.outputs."""
        session = None
        if self._work < REFERENCE_WORK:
            self._work += multiply_adds(graph, feeds)
        else:
            session = self._session(graph)
        if session is not None:
            try:
                return session.run({name: feeds[name] for name in graph.inputs})
            except EdgertError:
                self._keep(graph, None)
        return run_graph(graph, feeds)

    def _session(self, graph: Graph) -> Session | None:
        for known, session in self._sessions:
            if known is graph:
                return session
        from edgert.runtime.session import Session

        opened: Session | None
        try:
            model = pack_model(graph, ModelInfo(), {}, {})
            opened = Session(model, threads=self._threads, on_compile=self._compiling)
        except EdgertError:
            opened = None
        self._keep(graph, opened)
        return opened

    def _compiling(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress("compile kernels", done, total)

    def _keep(self, graph: Graph, session: Session | None) -> None:
        others = [pair for pair in self._sessions if pair[0] is not graph]
        self._sessions = [*others[1 - KEPT_SESSIONS :], (graph, session)]


def multiply_adds(graph: Graph, feeds: Feeds) -> int:
    """Of all operators with weights, for inputs shaped as `feeds`. Raises what shape inference does."""
    sizes: dict[str, int] = {}
    for name in graph.inputs:
        shape = graph.types[name].shape
        sizes |= {d: n for d, n in zip(shape, feeds[name].shape, strict=False) if isinstance(d, str)}
    bound = infer_types(graph, sizes)
    return sum(
        bound.types[node.outputs[0]].numel * prod(bound.types[node.inputs[1]].static_shape[1:])
        for node in bound.nodes
        if node.op in ("Conv", "QLinearConv", "Gemm", "QLinearGemm", "MatMul", "QLinearMatMul")
    )
