"""WHILE, IF, variables: whole files through the reader, the interpreter and a session, against LiteRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from flat_model import FlatModel

import edgert
from edgert.converters.convert import convert
from edgert.graph.ir import Array


def litert(path: Path) -> Interpreter:
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def invoke(interpreter: Interpreter, *feeds: Array) -> list[Array]:
    for detail, value in zip(interpreter.get_input_details(), feeds, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]).copy() for detail in interpreter.get_output_details()]


def same(path: Path, tmp_path: Path, steps: list[list[Array]]) -> None:
    """Every step of a stream gives the same."""
    interpreter = litert(path)
    convert(path, tmp_path / "m.edge")
    with edgert.load(tmp_path / "m.edge", threads=1) as session:
        state = session.state()
        names = [value.name for value in session.get_inputs()]
        for feeds in steps:
            theirs = invoke(interpreter, *feeds)
            ours = state.run(None, dict(zip(names, feeds, strict=True)))
            for one, other in zip(ours, theirs, strict=True):
                assert np.array_equal(one, other)


def test_while(tmp_path: Path) -> None:
    """while i < 5: x = x + x; i = i + 1"""
    m = FlatModel()
    i, x = m.input("i", (), "int32"), m.input("x", (2,))
    test, body = m.subgraph("test"), m.subgraph("body")
    a, _ = test.input("a", (), "int32"), test.input("b", (2,))
    five = test.constant("five", np.array(5, np.int32))
    test.output(test.op("LESS", [a, five], ("less", (), "bool")))
    a, b = body.input("a2", (), "int32"), body.input("b2", (2,))
    one = body.constant("one", np.array(1, np.int32))
    body.output(
        body.op("ADD", [a, one], ("next", (), "int32"), fused_activation_function="NONE"),
        body.op("ADD", [b, b], ("twice", (2,), "float32"), fused_activation_function="NONE"),
    )
    m.output(
        *m.op(
            "WHILE", [i, x], [("i_end", (), "int32"), ("x_end", (2,), "float32")],
            cond_subgraph_index=test.index, body_subgraph_index=body.index,
        )
    )  # fmt: skip
    value = np.array([1, -3], np.float32)
    same(m.save(tmp_path / "m.tflite"), tmp_path, [[np.array(n, np.int32), value] for n in (0, 4, 5, 9)])


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_if(tmp_path: Path, dtype: str) -> None:
    quant = {"scale": [0.5], "zero_point": [-3]} if dtype == "int8" else {}
    m = FlatModel()
    choice, x = m.input("choice", (), "bool"), m.input("x", (1, 2), dtype, **quant)
    branches = []
    for name, axis in (("then", 0), ("else", 1)):
        branch = m.subgraph(name)
        a = branch.input(f"{name}_a", (1, 2), dtype, **quant)
        axes = branch.constant(f"{name}_axes", np.array([axis], np.int32))
        branch.output(branch.op("REVERSE_V2", [a, axes], (f"{name}_y", (1, 2), dtype, quant)))
        branches.append(branch.index)
    m.output(
        m.op(
            "IF", [choice, x], ("y", (1, 2), dtype, quant),
            then_subgraph_index=branches[0], else_subgraph_index=branches[1],
        )
    )  # fmt: skip
    value = np.array([[1, -7]], dtype)
    same(m.save(tmp_path / "m.tflite"), tmp_path, [[np.array(True), value], [np.array(False), value]])


def test_variables(tmp_path: Path) -> None:
    """A first value from the initialiser; y = old + new, read before and after the assignment."""
    m = FlatModel()
    x = m.input("x", (1, 2))
    first = m.subgraph("first")
    handle = first.op("VAR_HANDLE", [], ("handle0", (), "resource"), container="", shared_name="v")
    first.op("ASSIGN_VARIABLE", [handle, first.constant("start", np.array([[10, 20]], np.float32))], [])
    m.op("CALL_ONCE", [], [], init_subgraph_index=first.index)
    handle = m.op("VAR_HANDLE", [], ("handle", (), "resource"), container="", shared_name="v")
    old = m.op("READ_VARIABLE", [handle], ("old", (1, 2), "float32"))
    new = m.op("ADD", [old, x], ("new", (1, 2), "float32"), fused_activation_function="NONE")
    m.op("ASSIGN_VARIABLE", [handle, new], [])
    again = m.op("READ_VARIABLE", [handle], ("again", (1, 2), "float32"))
    m.output(m.op("ADD", [old, again], ("y", (1, 2), "float32"), fused_activation_function="NONE"))
    steps = [[np.array([[n, -n]], np.float32)] for n in range(4)]
    same(m.save(tmp_path / "m.tflite"), tmp_path, steps)
