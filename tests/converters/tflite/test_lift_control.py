"""IF and WHILE of TFLite: bodies that see their inputs alone, conditions before and in each turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgert.converters.tflite.builder import Builder
from edgert.converters.tflite.families import LIFTS
from edgert.converters.tflite.lifts import lift_graph
from edgert.converters.tflite.model import (
    TfliteGraph,
    TfliteModel,
    TfliteOperator,
    TfliteQuantization,
    TfliteTensor,
)
from edgert.graph.execute import run_graph
from edgert.graph.ir import Array, Graph

QUANT = TfliteQuantization(np.array([0.5], np.float32), np.array([-3], np.int64))


def tensor(index: int, name: str, dtype: str, shape: tuple[int, ...] = (), data: Array | None = None) -> TfliteTensor:
    return TfliteTensor(index, name, dtype, shape, shape, QUANT if dtype == "int8" else None, data)


def op(index: int, kind: str, inputs: tuple[int, ...], outputs: tuple[int, ...], **options: object) -> TfliteOperator:
    return TfliteOperator(index, kind, False, 1, inputs, outputs, {"fused_activation_function": "NONE", **options})


def build(*graphs: TfliteGraph) -> Builder:
    assert LIFTS
    builder = Builder(TfliteModel(Path("m.tflite"), "", list(graphs), [], {}), graphs[0])
    builder.take_inputs({})
    builder.reserve_outputs({})
    lift_graph(builder)
    if not builder.problems:
        builder.give_outputs()
    return builder


def graph_of(*graphs: TfliteGraph) -> Graph:
    builder = build(*graphs)
    assert not builder.problems, builder.problems
    return builder.graph


def triangle() -> tuple[TfliteGraph, ...]:
    """while i < 5: s += i; i += 1"""
    five, one = np.array(5, np.int32), np.array(1, np.int32)
    main = TfliteGraph(
        "main",
        [tensor(0, "i", "int32"), tensor(1, "s", "int32"), tensor(2, "i2", "int32"), tensor(3, "s2", "int32")],
        (0, 1), (2, 3),
        [op(0, "WHILE", (0, 1), (2, 3), cond_subgraph_index=1, body_subgraph_index=2)],
    )  # fmt: skip
    test = TfliteGraph(
        "cond",
        [
            tensor(0, "i", "int32"), tensor(1, "s", "int32"), tensor(2, "five", "int32", (), five),
            tensor(3, "b", "bool"),
        ],
        (0, 1), (3,), [op(0, "LESS", (0, 2), (3,))],
    )  # fmt: skip
    body = TfliteGraph(
        "body",
        [
            tensor(0, "i", "int32"), tensor(1, "s", "int32"), tensor(2, "one", "int32", (), one),
            tensor(3, "next", "int32"), tensor(4, "sum", "int32"),
        ],
        (0, 1), (3, 4), [op(0, "ADD", (1, 0), (4,)), op(1, "ADD", (0, 2), (3,))],
    )  # fmt: skip
    return main, test, body


@pytest.mark.parametrize(("start", "total"), [(0, 10), (3, 7), (9, 0)])
def test_while(start: int, total: int) -> None:
    graph = graph_of(*triangle())
    out = run_graph(graph, {"i": np.array(start, np.int32), "s": np.array(0, np.int32)})
    assert (int(out["i2"]), int(out["s2"])) == (max(start, 5), total)


def test_names_are_unique_over_all_graphs() -> None:
    graph = graph_of(*triangle())
    names: list[str] = []
    for part in (graph, *graph.bodies()):
        names += [*part.inputs, *part.constants, *(name for node in part.nodes for name in node.outputs)]
    assert len(names) == len(set(names))


def branch(name: str, kind: str) -> TfliteGraph:
    return TfliteGraph(
        name, [tensor(0, "a", "float32", (2,)), tensor(1, "b", "float32", (2,))], (0,), (1,), [op(0, kind, (0,), (1,))]
    )


def chooser() -> TfliteGraph:
    rows = [tensor(0, "c", "bool"), tensor(1, "x", "float32", (2,)), tensor(2, "y", "float32", (2,))]
    choose = op(0, "IF", (0, 1), (2,), then_subgraph_index=1, else_subgraph_index=2)
    return TfliteGraph("main", rows, (0, 1), (2,), [choose])


@pytest.mark.parametrize(("choice", "expected"), [(True, [-1, 2]), (False, [1, 2])])
def test_if(choice: bool, expected: list[float]) -> None:
    graph = graph_of(chooser(), branch("then", "NEG"), branch("else", "ABS"))
    out = run_graph(graph, {"c": np.array(choice), "x": np.array([1, -2], np.float32)})
    assert out["y"].tolist() == expected


def test_a_branch_that_returns_its_input() -> None:
    same = TfliteGraph("same", [tensor(0, "a", "float32", (2,))], (0,), (0,), [])
    graph = graph_of(chooser(), same, branch("else", "NEG"))
    out = run_graph(graph, {"c": np.array(True), "x": np.array([1, -2], np.float32)})
    assert out["y"].tolist() == [1, -2]


def test_int8_constants_pass_into_bodies_as_activations() -> None:
    constant = np.array([3, -128], np.int8)
    rows = [tensor(0, "c", "bool"), tensor(1, "k", "int8", (2,), constant), tensor(2, "y", "int8", (2,))]
    choose = op(0, "IF", (0, 1), (2,), then_subgraph_index=1, else_subgraph_index=1)
    same = TfliteGraph("same", [tensor(0, "a", "int8", (2,))], (0,), (0,), [])
    graph = graph_of(TfliteGraph("main", rows, (0,), (2,), [choose]), same)
    assert run_graph(graph, {"c": np.array(True)})["y"].tolist() == [3, -128]


def test_refused() -> None:
    main, test, body = triangle()
    main.operators[0].options["body_subgraph_index"] = 7
    assert "sub-graph 1..2" in build(main, test, body).problems[0].advice
    main, test, body = triangle()
    body.operators.insert(0, op(5, "WHILE", (0, 1), (3, 4), cond_subgraph_index=1, body_subgraph_index=2))
    assert "none in itself" in build(main, test, body).problems[0].advice
    two = TfliteGraph("two", [tensor(0, "a", "float32", (2,)), tensor(1, "b", "float32")], (0, 1), (0,), [])
    assert "as many inputs" in build(chooser(), two, branch("else", "NEG")).problems[0].advice


def test_operators_of_all_bodies_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """One large sub-graph may be used a thousand times."""
    monkeypatch.setattr("edgert.converters.tflite.builder.MAX_OPERATORS", 7)
    builder = build(*chosen(2))
    assert not builder.problems
    (problem,) = build(*chosen(3)).problems
    assert problem.what == "else_branch" and "at most 7 operators in sub-graphs" in problem.advice


def chosen(count: int) -> list[TfliteGraph]:
    """`count` times IF with branches of one and two operators, one after the other."""
    ends = [tensor(i + 1, f"y{i}", "float32", (2,)) for i in range(count)]
    main = TfliteGraph("main", [tensor(0, "c", "bool"), *ends, tensor(count + 1, "x", "float32", (2,))], (0, count + 1),
                       (count,), [])  # fmt: skip
    for i in range(count):
        given = (0, i or count + 1)
        main.operators.append(op(i, "IF", given, (i + 1,), then_subgraph_index=1, else_subgraph_index=2))
    bodies = []
    for length in (1, 2):
        inner = [tensor(i, f"t{i}", "float32", (2,)) for i in range(length + 1)]
        steps = [op(i, "NEG", (i,), (i + 1,)) for i in range(length)]
        bodies.append(TfliteGraph(f"body{length}", inner, (0,), (length,), steps))
    return [main, *bodies]
