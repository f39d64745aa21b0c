"""If, Loop and Scan on values: which body runs, how often, and how results stack."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.errors import UnsupportedError
from edgert.graph.execute import run_graph
from edgert.graph.ir import Array, Graph, Node, TensorType

F32, I64, BOOL = TensorType("float32", (2,)), TensorType("int64", ()), TensorType("bool", ())


def loop(trips: str, condition: str, *, until: float = np.inf) -> Graph:
    """carried = carried + x, while the sum stays below `until`; every sum is kept."""
    nodes = [
        Node("Add", ("b/c", "b/x"), ("b/sum",), {}, "add"),
        Node("ReduceSum", ("b/sum",), ("b/total",), {"keepdims": 0}, "total"),
        Node("Less", ("b/total", "b/limit"), ("b/go",), {}, "less"),
        Node("Identity", ("b/sum",), ("b/out",), {}, "out"),
    ]
    inner = Graph("b", ["b/i", "b/going", "b/c", "b/x"], ["b/go", "b/sum", "b/out"], nodes)
    inner.types = {"b/i": I64, "b/going": BOOL, "b/c": F32, "b/x": F32, "b/out": F32}
    inner.add_constant("b/limit", np.asarray(until, np.float32))
    node = Node("Loop", (trips, condition, "start", "x"), ("last", "all"), {"captured": 1}, "loop", {"body": inner})
    types = {"m": I64, "c": BOOL, "start": F32, "x": F32, "last": F32, "all": TensorType("float32", ("k", 2))}
    return Graph("g", ["m", "c", "start", "x"], ["last", "all"], [node], types)


FEEDS: dict[str, Array] = {
    "m": np.asarray(4), "c": np.asarray(True), "start": np.zeros(2, np.float32), "x": np.array([1, 2], np.float32)
}  # fmt: skip


@pytest.mark.parametrize(
    ("trips", "condition", "feeds", "turns"),
    [
        ("m", "c", {}, 4),
        ("m", "", {}, 4),
        ("m", "c", {"m": np.asarray(0)}, 0),
        ("m", "c", {"c": np.asarray(False)}, 0),
        ("", "c", {"c": np.asarray(False)}, 0),
    ],
)
def test_a_loop_runs_as_often_as_it_should(trips: str, condition: str, feeds: dict[str, Array], turns: int) -> None:
    found = run_graph(loop(trips, condition), FEEDS | feeds)
    assert found["last"].tolist() == [turns, 2 * turns]
    assert found["all"].tolist() == [[i, 2 * i] for i in range(1, turns + 1)] and found["all"].shape == (turns, 2)


def test_a_loop_ends_when_its_condition_says_so() -> None:
    assert run_graph(loop("", "c", until=7), FEEDS)["last"].tolist() == [3, 6]


def test_only_the_branch_taken_is_run() -> None:
    def branch(name: str, op: str) -> Graph:
        node = Node(op, (f"{name}/x",), (f"{name}/y",), {}, name)
        return Graph(name, [f"{name}/x"], [f"{name}/y"], [node], {f"{name}/x": TensorType("float32", ("n",))})

    branches = {"then_branch": branch("t", "Neg"), "else_branch": branch("e", "NoSuchOperator")}
    node = Node("If", ("c", "x"), ("y",), {"captured": 1}, "if", branches)
    graph = Graph("g", ["c", "x"], ["y"], [node], {"c": BOOL, "x": F32, "y": F32})
    x = np.array([1, -2], np.float32)
    assert run_graph(graph, {"c": np.asarray(True), "x": x})["y"].tolist() == [-1, 2]
    with pytest.raises(UnsupportedError, match=r"node 'if'.*NoSuchOperator"):
        run_graph(graph, {"c": np.asarray(False), "x": x})
    two = TensorType("bool", (2,))
    graph.types["c"] = two
    with pytest.raises(UnsupportedError, match="a condition of one value"):
        run_graph(graph, {"c": np.array([True, True]), "x": x})


@pytest.mark.parametrize("backwards", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_scan_goes_along_its_axis_in_its_direction(axis: int, backwards: int) -> None:
    nodes = [
        Node("Add", ("b/s", "b/x"), ("b/sum",), {}, "add"),
        Node("Mul", ("b/sum", "b/f"), ("b/out",), {}, "mul"),
    ]
    kinds = {name: F32 for name in ("b/s", "b/x", "b/out")}
    inner = Graph("b", ["b/s", "b/x", "b/f"], ["b/sum", "b/out"], nodes, kinds)
    attrs = {
        "num_scan_inputs": 1, "captured": 1, "scan_input_axes": [axis], "scan_input_directions": [backwards],
        "scan_output_axes": [axis], "scan_output_directions": [backwards],
    }  # fmt: skip
    node = Node("Scan", ("s", "x", "f"), ("last", "y"), attrs, "scan", {"body": inner})
    x = np.arange(6, dtype=np.float32).reshape((3, 2) if axis == 0 else (2, 3))
    types = {"s": F32, "f": TensorType("float32", ()), "last": F32}
    types |= {name: TensorType("float32", x.shape) for name in ("x", "y")}
    graph = Graph("g", ["s", "x", "f"], ["last", "y"], [node], types)
    found = run_graph(graph, {"s": np.zeros(2, np.float32), "x": x, "f": np.asarray(10, np.float32)})
    sums = np.flip(np.cumsum(np.flip(x, axis), axis), axis) if backwards else np.cumsum(x, axis)
    assert np.array_equal(found["y"], 10 * sums)
    assert np.array_equal(found["last"], x.sum(axis))


def test_what_turns_leave_behind_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes of a file ask for any number of turns."""
    monkeypatch.setattr("edgert.graph.control.MAX_STACKED_BYTES", 32)
    assert len(run_graph(loop("m", "c"), FEEDS)["all"]) == 4
    with pytest.raises(UnsupportedError, match="scan outputs of at most 32 bytes, found 40"):
        run_graph(loop("m", "c"), FEEDS | {"m": np.asarray(5)})
