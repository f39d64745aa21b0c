"""Models whose shapes depend on values: planned in stages, with the answers of the interpreter, and kept plans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgert.converters.pack import pack_model
from edgert.errors import MemoryBudgetError, UnsupportedError
from edgert.format import ModelInfo, read_model, write_model
from edgert.graph.execute import run_graph
from edgert.graph.ir import Array, Graph, Node, TensorType
from edgert.plan import explain
from edgert.runtime.session import Session
from edgert.runtime.staged import MAX_ASKED, Staged

X = TensorType("float32", (2, 6))


def branch(name: str, op: str) -> Graph:
    names = f"{name}/x", f"{name}/y"
    return Graph(name, [names[0]], [names[1]], [Node(op, (names[0],), (names[1],), {}, name)])


def dynamic() -> Graph:
    """A reshape by an input, positions of what is positive, and a branch taken by a sum."""
    nodes = [
        Node("Relu", ("x",), ("h",), {}, "relu"),
        Node("Reshape", ("h", "shape"), ("y",), {}, "reshape"),
        Node("NonZero", ("y",), ("places",), {}, "places"),
        Node("Transpose", ("places",), ("rows",), {"perm": [1, 0]}, "rows"),
        Node("GatherND", ("y", "rows"), ("values",), {}, "values"),
        Node("Add", ("values", "one"), ("more",), {}, "more"),
        Node("ReduceSum", ("x",), ("sum",), {"keepdims": 0}, "sum"),
        Node("Greater", ("sum", "zero"), ("positive",), {}, "positive"),
        Node("If", ("positive", "more"), ("z",), {"captured": 1}, "if",
             {"then_branch": branch("t", "Neg"), "else_branch": branch("e", "Abs")}),
    ]  # fmt: skip
    types = {"x": X, "shape": TensorType("int64", ("rank",)), "y": TensorType("float32", ("a", "b"))}
    types["z"] = TensorType("float32", ("count",))
    graph = Graph("dynamic", ["x", "shape"], ["y", "z"], nodes, types)
    graph.add_constant("one", np.asarray(1, np.float32))
    graph.add_constant("zero", np.asarray(0, np.float32))
    return graph


def feeds(seed: int, *shape: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(seed).normal(size=(2, 6)).astype(np.float32), "shape": np.array(shape)}


@pytest.mark.parametrize("threads", [1, 2])
def test_answers_are_those_of_the_interpreter(tmp_path: Path, threads: int) -> None:
    graph = dynamic()
    write_model(pack_model(graph, ModelInfo(), {}, {}), tmp_path / "m.edge")
    with Session(read_model(tmp_path / "m.edge"), threads=threads) as session:
        for seed, shape in enumerate([(3, 4), (4, 3), (2, 6), (1, 12), (3, 4)] * 2):
            given = feeds(seed, *shape)
            wanted, found = run_graph(graph, given), session.run(given)
            assert found.keys() == wanted.keys()
            for name, value in wanted.items():
                assert np.array_equal(found[name], value) and found[name].shape == value.shape, name


def test_a_plan_is_made_once_for_each_shape() -> None:
    with Session(pack_model(dynamic(), ModelInfo(), {}, {})) as session:
        same = feeds(0, 3, 4)
        session.run(same)
        (staged,) = session._ready.values()
        assert isinstance(staged, Staged)
        before = [id(executable) for executable in staged.executables()]
        session.run(same)
        assert [id(executable) for executable in staged.executables()] == before
        session.run(feeds(0, 4, 3))
        assert len(list(staged.executables())) > len(before)


def test_the_plan_names_what_waits_and_why() -> None:
    with Session(pack_model(dynamic(), ModelInfo(), {}, {})) as session:
        plan = session.plan({"rank": 2})
        assert [step.node for step in plan.steps if step.kind != "convert"] == ["relu", "sum", "positive"]
        assert [step.node for step in plan.later] == ["reshape", "places", "rows", "values", "more", "if"]
        assert "constant shape" in plan.later[0].reason
        assert "6 planned when their values are there" in session.summary()
        assert "later" in explain.table(plan) and len(explain.as_json(plan)["later"]) == 6


def test_profile_times_planned_ops_and_those_that_run_alone() -> None:
    with Session(pack_model(dynamic(), ModelInfo(), {}, {})) as session:
        kernels = [time.kernel for time in session.profile(feeds(1, 3, 4))]
        assert {"host:NonZero", "host:If"} < set(kernels) and any(k.startswith("unary_f32") for k in kernels)


def test_an_input_that_decides_shapes_may_not_be_large() -> None:
    kind = TensorType("int64", ("n",))
    nodes = [Node("Tile", ("x", "times"), ("y",), {}, "tile")]
    graph = Graph("g", ["x", "times"], ["y"], nodes, {"x": X, "times": kind, "y": TensorType("float32", ("a", "b"))})
    with (
        Session(pack_model(graph, ModelInfo(), {}, {})) as session,
        pytest.raises(UnsupportedError, match=f"at most {MAX_ASKED} values in 'times'"),
    ):
        session.run({"x": np.ones((2, 6), np.float32), "times": np.ones(MAX_ASKED + 1, np.int64)})


def test_a_budget_holds_for_every_stage() -> None:
    with Session(pack_model(dynamic(), ModelInfo(), {}, {}), ram="64K") as session:
        for count in range(8):
            session.run(feeds(count, 3, 4) if count % 2 else feeds(count, 4, 3))
            (staged,) = session._ready.values()
            assert staged.held <= 64 << 10
    with Session(pack_model(dynamic(), ModelInfo(), {}, {}), ram=300) as session, pytest.raises(MemoryBudgetError):
        session.run(feeds(0, 3, 4))


def test_a_loop_runs_its_body_through_plans() -> None:
    nodes = [
        Node("MatMul", ("b/h", "b/w"), ("b/p",), {}, "matmul"),
        Node("Tanh", ("b/p",), ("b/n",), {}, "tanh"),
        Node("Identity", ("b/go",), ("b/on",), {}, "on"),
        Node("Identity", ("b/n",), ("b/out",), {}, "out"),
    ]
    body = Graph("b", ["b/i", "b/go", "b/h"], ["b/on", "b/n", "b/out"], nodes)
    body.add_constant("b/w", np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32))
    node = Node("Loop", ("m", "", "h"), ("last", "all"), {"captured": 0}, "loop", {"body": body})
    kind = TensorType("float32", (1, 8))
    types = {"m": TensorType("int64", ()), "h": kind, "last": kind, "all": TensorType("float32", ("k", 1, 8))}
    graph = Graph("g", ["m", "h"], ["last", "all"], [node], types)
    given = {"m": np.asarray(5), "h": np.ones((1, 8), np.float32)}
    with Session(pack_model(graph, ModelInfo(), {}, {})) as session:
        found, wanted = session.run(given), run_graph(graph, given)
        assert found["all"].shape == (5, 1, 8)
        np.testing.assert_allclose(found["all"], wanted["all"], rtol=1e-5, atol=1e-6)
        (staged,) = session._ready.values()
        assert isinstance(staged, Staged) and len(list(staged.executables())) == 1, "one plan for all turns"
