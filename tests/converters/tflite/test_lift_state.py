"""Variables of TFLite models become states: order of reads and assignments, first values, int8 kept as uint8."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgert.converters.tflite.builder import Builder
from edgert.converters.tflite.families import LIFTS
from edgert.converters.tflite.lift_state import assigned, give_states, take_variables
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


def tensors(*entries: tuple[str, str, Array | None]) -> list[TfliteTensor]:
    """(name, dtype, constant) each; everything is of size [2], resources are scalar. int8 is quantized."""
    made = []
    for index, (name, dtype, data) in enumerate(entries):
        shape = () if dtype == "resource" else (2,)
        quant = QUANT if dtype == "int8" else None
        made.append(TfliteTensor(index, name, dtype, shape, shape, quant, data))
    return made


def op(index: int, kind: str, inputs: tuple[int, ...], outputs: tuple[int, ...], **options: object) -> TfliteOperator:
    return TfliteOperator(index, kind, False, 1, inputs, outputs, options)


def graph_of(*graphs: TfliteGraph) -> Graph:
    builder = build(*graphs)
    assert not builder.problems, builder.problems
    return builder.graph


def build(*graphs: TfliteGraph) -> Builder:
    assert LIFTS
    builder = Builder(TfliteModel(Path("m.tflite"), "", list(graphs), [], {}), graphs[0])
    builder.take_inputs({})
    builder.reserve_outputs({})
    take_variables(builder)
    lift_graph(builder)
    if not builder.problems:
        builder.give_outputs()
        give_states(builder)
    return builder


def initialiser(value: Array, dtype: str = "float32") -> TfliteGraph:
    rows = tensors(("v1", "resource", None), ("first", dtype, value))
    ops = [op(0, "VAR_HANDLE", (), (0,), shared_name="v"), op(1, "ASSIGN_VARIABLE", (0, 1), ())]
    return TfliteGraph("init", rows, (), (), ops)


def counter(read_after: bool) -> TfliteGraph:
    """v += x; y = v before or after it."""
    rows = tensors(
        ("x", "float32", None), ("h", "resource", None), ("old", "float32", None), ("new", "float32", None),
        ("again", "float32", None), ("y", "float32", None),
    )  # fmt: skip
    ops = [
        op(0, "CALL_ONCE", (), (), init_subgraph_index=1),
        op(1, "VAR_HANDLE", (), (1,), shared_name="v"),
        op(2, "READ_VARIABLE", (1,), (2,)),
        op(3, "ADD", (2, 0), (3,), fused_activation_function="NONE"),
        op(4, "ASSIGN_VARIABLE", (1, 3), ()),
        op(5, "READ_VARIABLE", (1,), (4,)),
        op(6, "NEG", (4 if read_after else 2,), (5,)),
    ]
    return TfliteGraph("main", rows, (0,), (5,), ops)


@pytest.mark.parametrize("read_after", [False, True])
def test_a_read_sees_what_was_assigned_before_it(read_after: bool) -> None:
    graph = graph_of(counter(read_after), initialiser(np.array([10, 20], np.float32)))
    (past,), (present,) = graph.states.keys(), graph.states.values()
    assert (past, graph.inputs, graph.outputs) == ("v", ["x", "v"], ["y", present])
    assert graph.initial["v"].tolist() == [10, 20]
    out = run_graph(graph, {"x": np.array([1, 2], np.float32), "v": graph.initial["v"]})
    assert out[present].tolist() == [11, 22]
    assert out["y"].tolist() == ([-11, -22] if read_after else [-10, -20])


def test_zeros_are_not_stored() -> None:
    assert graph_of(counter(False), initialiser(np.zeros(2, np.float32))).initial == {}


def test_int8_states_are_uint8_and_begin_raised() -> None:
    rows = tensors(("x", "int8", None), ("h", "resource", None), ("old", "int8", None), ("y", "int8", None))
    ops = [
        op(0, "CALL_ONCE", (), (), init_subgraph_index=1),
        op(1, "VAR_HANDLE", (), (1,), shared_name="v"),
        op(2, "READ_VARIABLE", (1,), (2,)),
        op(3, "ASSIGN_VARIABLE", (1, 0), ()),
        op(4, "RESHAPE", (2,), (3,), new_shape=[2]),
    ]
    first = np.array([-128, 5], np.int8)
    graph = graph_of(TfliteGraph("main", rows, (0,), (3,), ops), initialiser(first, "int8"))
    assert graph.types["v"].dtype == "uint8" and graph.initial["v"].tolist() == [0, 133]
    x = np.array([7, -8], np.int8)
    out = run_graph(graph, {"x": x, "v": graph.initial["v"]})
    assert out["y"].tolist() == first.tolist()
    again = run_graph(graph, {"x": x, "v": out[graph.states["v"]]})
    assert again["y"].tolist() == x.tolist()


def test_a_constant_assigned_to_an_int8_variable_is_raised() -> None:
    rows = tensors(("c", "int8", np.array([1, 2], np.int8)), ("h", "resource", None), ("y", "int8", None))
    ops = [
        op(0, "VAR_HANDLE", (), (1,), shared_name="v"),
        op(1, "READ_VARIABLE", (1,), (2,)),
        op(2, "ASSIGN_VARIABLE", (1, 0), ()),
    ]
    graph = graph_of(TfliteGraph("main", rows, (), (2,), ops))
    out = run_graph(graph, {"v": np.array([128, 128], np.uint8)})
    assert out["y"].tolist() == [0, 0] and out[graph.states["v"]].tolist() == [129, 130]


def test_a_variable_nobody_assigns_is_a_constant_and_one_nobody_reads_is_gone() -> None:
    rows = tensors(
        ("x", "float32", None), ("h", "resource", None), ("v", "float32", None), ("y", "float32", None),
        ("h2", "resource", None),
    )  # fmt: skip
    ops = [
        op(0, "CALL_ONCE", (), (), init_subgraph_index=1),
        op(1, "VAR_HANDLE", (), (1,), shared_name="v"),
        op(2, "VAR_HANDLE", (), (4,), shared_name="w"),
        op(3, "READ_VARIABLE", (1,), (2,)),
        op(4, "ASSIGN_VARIABLE", (4, 0), ()),
        op(5, "ADD", (2, 0), (3,), fused_activation_function="NONE"),
    ]
    graph = graph_of(TfliteGraph("main", rows, (0,), (3,), ops), initialiser(np.array([1, 2], np.float32)))
    assert graph.states == {} and graph.inputs == ["x"] and graph.outputs == ["y"]
    assert run_graph(graph, {"x": np.zeros(2, np.float32)})["y"].tolist() == [1, 2]


def test_tensors_that_live_from_run_to_run() -> None:
    rows = tensors(("x", "int8", None), ("s", "int8", None), ("y", "int8", None))
    rows[1].variable = True
    source = TfliteGraph("main", rows, (0,), (2,), [])
    builder = Builder(TfliteModel(Path("m.tflite"), "", [source], [], {}), source)
    builder.take_inputs({})
    builder.reserve_outputs({})
    take_variables(builder)
    builder.append("Identity", [builder.use(1)], [builder.declare(2)])
    assigned(builder, 1, builder.use(0))
    builder.give_outputs()
    give_states(builder)
    graph = builder.graph
    assert graph.initial["s"].tolist() == [125, 125]  # the zero point, raised
    out = run_graph(graph, {"x": np.array([1, 2], np.int8), "s": graph.initial["s"]})
    assert out["y"].tolist() == [-3, -3] and out[graph.states["s"]].tolist() == [129, 130]


def test_refused() -> None:
    rows = tensors(("x", "float32", None), ("h", "resource", None), ("old", "int8", None))
    ops = [
        op(0, "VAR_HANDLE", (), (1,), shared_name="v"),
        op(1, "READ_VARIABLE", (1,), (2,)),
        op(2, "ASSIGN_VARIABLE", (1, 0), ()),
        op(3, "CALL_ONCE", (), (), init_subgraph_index=0),
        op(4, "READ_VARIABLE", (0,), (2,)),
    ]
    problems = build(TfliteGraph("main", rows, (0,), (2,), ops)).problems
    assert [problem.op for problem in problems] == ["ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE"]
    assert "one type and quantization" in problems[0].advice


def test_an_initialiser_that_contains_itself_ends() -> None:
    inner = initialiser(np.zeros(2, np.float32))
    inner.operators.insert(0, op(9, "CALL_ONCE", (), (), init_subgraph_index=1))
    problems = build(counter(False), inner).problems
    assert problems and "none in itself" in problems[0].advice


def test_what_initialisers_make_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of a thousand fills may be small enough, all of them together are not."""
    rows = tensors(("n", "int32", np.array([2, 2], np.int32)), ("one", "float32", np.float32(1)))
    ops = []
    for i in range(3):
        rows += [replace(t, index=t.index + len(rows)) for t in tensors((f"v{i}", "resource", None))]
        rows.append(TfliteTensor(len(rows), f"f{i}", "float32", (2, 2), (2, 2)))
        ops.append(op(3 * i, "VAR_HANDLE", (), (len(rows) - 2,), shared_name=f"v{i}"))
        ops.append(op(3 * i + 1, "FILL", (0, 1), (len(rows) - 1,)))
        ops.append(op(3 * i + 2, "ASSIGN_VARIABLE", (len(rows) - 2, len(rows) - 1), ()))
    main = TfliteGraph("main", tensors(("x", "float32", None)), (0,), (0,), [
        op(0, "CALL_ONCE", (), (), init_subgraph_index=1)
    ])  # fmt: skip
    monkeypatch.setattr("edgert.converters.tflite.lift_state.MAX_INITIAL_BYTES", 48)
    assert not build(main, TfliteGraph("init", rows, (), (), ops)).problems
    monkeypatch.setattr("edgert.converters.tflite.lift_state.MAX_INITIAL_BYTES", 47)
    (problem,) = build(main, TfliteGraph("init", rows, (), (), ops)).problems
    assert "MiB in all" in problem.advice


def test_a_state_past_the_limit_is_refused_before_it_is_made() -> None:
    """A terabyte, in a file of a few bytes."""
    shape = (1 << 20, 1 << 20)
    rows = [*tensors(("x", "float32", None)), TfliteTensor(1, "v", "int8", shape, shape, QUANT, variable=True)]
    (problem,) = build(TfliteGraph("main", rows, (0,), (0,), [])).problems
    assert problem.node == "v" and "at most 268435456 values" in problem.advice
