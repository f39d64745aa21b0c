"""Runs graphs of the converter on the runtime: the fast executor for calibration and reports.
A graph the runtime can not plan is answered by the reference operators instead, more slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgert.converters.calibrate.collect import Feeds
from edgert.converters.pack import pack_model
from edgert.errors import EdgertError
from edgert.format import ModelInfo
from edgert.graph.execute import run_graph
from edgert.graph.ir import Array, Graph

if TYPE_CHECKING:
    from edgert.runtime.session import Session

KEPT_SESSIONS = 2
"""A report runs the float and the quantized graph in turn."""


class SessionExecutor:
    """execute(graph, feeds) through one `Session` per graph, kept for the graphs used last."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._sessions: list[tuple[Graph, Session | None]] = []

    def __call__(self, graph: Graph, feeds: Feeds) -> dict[str, Array]:
        """The values of graph.outputs."""
        session = self._session(graph)
        if session is not None:
            try:
                return session.run({name: feeds[name] for name in graph.inputs})
            except EdgertError:
                self._keep(graph, None)
        return run_graph(graph, dict(feeds))

    def _session(self, graph: Graph) -> Session | None:
        for known, session in self._sessions:
            if known is graph:
                return session
        from edgert.runtime.session import Session

        opened: Session | None
        try:
            opened = Session(pack_model(graph, ModelInfo(), {}, {}), threads=self._threads)
        except EdgertError:
            opened = None
        self._keep(graph, opened)
        return opened

    def _keep(self, graph: Graph, session: Session | None) -> None:
        others = [pair for pair in self._sessions if pair[0] is not graph]
        self._sessions = [*others[1 - KEPT_SESSIONS :], (graph, session)]
