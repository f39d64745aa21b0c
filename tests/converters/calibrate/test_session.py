"""The executor of the command line: reference first, kernels once they pay, the same answers from both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgert.converters.calibrate import session
from edgert.converters.calibrate.collect import with_outputs
from edgert.graph.execute import run_graph
from edgert.graph.ir import Graph, Node, TensorType


def test_work_is_counted(net: Any, optimized: Any) -> None:
    net.shape = ("N", 8, 10, 10)
    graph = optimized(net, net.conv(net.conv("x", 8, 12, 3), 12, 12, 3, group=12))
    assert session.multiply_adds(graph, net.feeds(3)) == 3 * 100 * 9 * (8 * 12 + 12)


@pytest.mark.slow
def test_kernels_give_the_same_answers(mobile: Any, optimized: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net, y = mobile
    graph = optimized(net, y)
    monkeypatch.setattr(session, "REFERENCE_WORK", 1)
    stages: list[str] = []
    execute = session.SessionExecutor(threads=1, progress=lambda stage, done, total: stages.append(stage))
    watched = with_outputs(graph, [graph.nodes[3].outputs[0]])
    feeds = net.feeds(2)
    for _ in range(2):
        for name, value in execute(watched, feeds).items():
            wanted = run_graph(watched, feeds)[name]
            np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    assert execute._sessions[0][1] is not None


def test_a_graph_that_can_not_be_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgert.errors import UnsupportedError
    from edgert.runtime import session as runtime

    def refuse(*_: Any, **__: Any) -> None:
        raise UnsupportedError("no")

    monkeypatch.setattr(runtime, "Session", refuse)
    monkeypatch.setattr(session, "REFERENCE_WORK", 0)
    kind = TensorType("float32", (2,))
    graph = Graph("g", ["x"], ["y"], [Node("Relu", ("x",), ("y",))], {"x": kind, "y": kind})
    found = session.SessionExecutor()(graph, {"x": np.array([-1, 1], np.float32)})
    np.testing.assert_array_equal(found["y"], [0, 1])
