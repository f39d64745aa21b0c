"""Bodies of If, Loop and Scan: what they capture, nest and return twice, against ONNX Runtime; and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgert.converters.convert import convert
from edgert.converters.onnx.importer import check_onnx, import_onnx
from edgert.errors import UnsupportedError
from edgert.graph.execute import run_graph
from edgert.runtime.session import Session

Save = Callable[..., Path]
Peer = Callable[[Path, dict[str, np.ndarray]], list[np.ndarray]]

BOOL, FLOAT, INT64 = TensorProto.BOOL, TensorProto.FLOAT, TensorProto.INT64


def info(name: str, kind: int = FLOAT, shape: Sequence[Any] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def body(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    **constants: np.ndarray,
) -> onnx.GraphProto:
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return helper.make_graph(list(nodes), "body", list(inputs), list(outputs), tensors)


def agree(path: Path, peer: Peer, feeds: dict[str, np.ndarray], tmp_path: Path) -> None:
    """The interpreter on the imported graph, and a session on the converted file, answer as ONNX Runtime does."""
    wanted = peer(path, feeds)
    found = run_graph(import_onnx(path), feeds)
    model = convert(path, tmp_path / "m.edge").model
    with Session(model) as session:
        ran = session.run(None, feeds)
    for want, name, got in zip(wanted, found, ran, strict=True):
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("taken", [True, False])
def test_branches_capture_tensors_and_constants_around_them(
    save: Save, peer: Peer, tmp_path: Path, taken: bool
) -> None:
    then = body(
        [helper.make_node("Mul", ["h", "w"], ["p"]), helper.make_node("Add", ["p", "own"], ["t"])], [], [info("t")],
        own=np.full(3, 2, np.float32),
    )  # fmt: skip
    other = body([helper.make_node("Sub", ["h", "x"], ["e"])], [], [info("e")])
    nodes = [
        helper.make_node("Exp", ["x"], ["h"]),
        helper.make_node("If", ["c"], ["y"], name="choose", then_branch=then, else_branch=other),
    ]
    feeds = {"x": np.array([1, -2, 3], np.float32), "c": np.array(taken)}
    path = save(nodes, feeds, ["y"], {"w": np.array([3, 4, 5], np.float32)})
    agree(path, peer, feeds, tmp_path)
    (node,) = (n for n in import_onnx(path).nodes if n.op == "If")
    assert node.inputs[1:] == ("h", "x") and node.attrs["captured"] == 2, "a constant is copied, not captured"
    assert all(name.startswith("choose/") for graph in node.graphs.values() for name in graph.types)


def test_a_loop_with_a_branch_in_it_that_captures_from_both_around(save: Save, peer: Peer, tmp_path: Path) -> None:
    inner = [
        body([helper.make_node(op, ["state", "x"], [out])], [], [info(out)]) for op, out in (("Add", "a"), ("Sub", "s"))
    ]
    nodes = [
        helper.make_node("Mod", ["turn", "two"], ["odd"]),
        helper.make_node("Cast", ["odd"], ["is_odd"], to=BOOL),
        helper.make_node("If", ["is_odd"], ["next"], name="pick", then_branch=inner[0], else_branch=inner[1]),
    ]
    # the carried value is given out twice, and the condition is handed through
    loop = body(
        nodes, [info("turn", INT64, []), info("go", BOOL, []), info("state")],
        [info("go", BOOL, []), info("next"), info("next")], two=np.array(2),
    )  # fmt: skip
    feeds = {"m": np.array(5), "x": np.array([1, 2], np.float32), "start": np.array([10, 10], np.float32)}
    node = helper.make_node("Loop", ["m", "", "start"], ["last", "all"], name="loop", body=loop)
    agree(save([node], feeds, ["last", "all"]), peer, feeds, tmp_path)


def test_a_scan_with_sizes_that_only_the_run_tells(save: Save, peer: Peer, tmp_path: Path) -> None:
    scan = body(
        [
            helper.make_node("Add", ["s", "x"], ["sum"]),
            helper.make_node("Mul", ["sum", "f"], ["scaled"]),
        ],
        [info("s", FLOAT, [2]), info("x", FLOAT, [2])],
        [info("sum", FLOAT, [2]), info("scaled", FLOAT, [2])],
    )
    node = helper.make_node("Scan", ["start", "seq"], ["last", "y"], body=scan, num_scan_inputs=1)
    feeds = {
        "start": np.zeros(2, np.float32), "seq": np.arange(8, dtype=np.float32).reshape(4, 2),
        "f": np.array(3, np.float32),
    }  # fmt: skip
    agree(save([node], feeds, ["last", "y"]), peer, feeds, tmp_path)


def test_a_name_of_a_body_hides_the_one_around_it(save: Save, peer: Peer, tmp_path: Path) -> None:
    negated = body([helper.make_node("Neg", ["z"], ["q"])], [], [info("q")])
    absolute = body([helper.make_node("Abs", ["x"], ["r"])], [], [info("r")])
    choice = helper.make_node("If", ["c"], ["i"], then_branch=negated, else_branch=absolute)
    inner = body([choice], [], [info("i")], z=np.array([7, 8], np.float32))
    other = body([helper.make_node("Abs", ["z"], ["o"])], [], [info("o")])
    nodes = [
        helper.make_node("Exp", ["x"], ["z"]),
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=other),
    ]
    for taken in (True, False):
        feeds = {"x": np.array([1, -2], np.float32), "c": np.array(taken)}
        found = run_graph(import_onnx(save(nodes, feeds, ["y"])), feeds)["y"]
        np.testing.assert_allclose(found, [-7, -8] if taken else np.exp(feeds["x"]), rtol=1e-6)


def test_what_a_body_cannot_hold_is_named(save: Save) -> None:
    bad = body([helper.make_node("Frobnicate", ["x"], ["t"])], [], [info("t")])
    good = body([helper.make_node("Abs", ["x"], ["e"])], [], [info("e")])
    node = helper.make_node("If", ["c"], ["y"], name="choose", then_branch=bad, else_branch=good)
    path = save([node], {"x": np.ones(2, np.float32), "c": np.array(True)}, ["y"])
    (problem,) = check_onnx(path)
    assert problem.op == "If" and problem.attribute == "then_branch" and "Frobnicate" in problem.advice
    with pytest.raises(UnsupportedError, match="Frobnicate"):
        import_onnx(path)


def test_the_report_counts_nodes_of_bodies(save: Save, tmp_path: Path) -> None:
    """In the source, where constants are no nodes, and in the file."""
    one = helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.ones(3, np.float32)))
    then = body([one, helper.make_node("Mul", ["x", "x"], ["p"]), helper.make_node("Add", ["p", "one"], ["t"])], [],
                [info("t")])  # fmt: skip
    other = body([helper.make_node("Neg", ["x"], ["e"])], [], [info("e")])
    nodes = [helper.make_node("If", ["go"], ["y"], then_branch=then, else_branch=other)]
    path = save(nodes, {"x": np.ones(3, np.float32), "go": np.array(True)}, ["y"])
    result = convert(path, tmp_path / "m.edge")
    assert result.model.source["operators"] == {"If": 1, "Mul": 1, "Add": 1, "Neg": 1}
    assert "nodes: 4 in the source -> 4" in result.report.table()


def test_slashes_in_names_are_no_bodies(save: Save, peer: Peer, tmp_path: Path) -> None:
    """Exporters call nodes by their module paths: /encoder/layers.0/attention/If."""
    inner = helper.make_node(
        "If", ["c"], ["i"], "/encoder/layers.0/self/attention/If",
        then_branch=body([helper.make_node("Neg", ["x"], ["n"])], [], [info("n")]),
        else_branch=body([helper.make_node("Abs", ["x"], ["a"])], [], [info("a")]),
    )  # fmt: skip
    outer = helper.make_node(
        "If", ["c"], ["y"], "/model/encoder/layers.0/self/attention/If_1",
        then_branch=body([inner], [], [info("i")]),
        else_branch=body([helper.make_node("Relu", ["x"], ["r"])], [], [info("r")]),
    )  # fmt: skip
    feeds = {"x": np.float32([1, -2]), "c": np.array(True)}
    agree(save([outer], feeds, ["y"], {}), peer, feeds, tmp_path)
