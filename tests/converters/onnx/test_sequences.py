"""Sequences whose length is known become tensors; others are refused with what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from edgert.converters.onnx.importer import check_onnx
from edgert.graph.ir import Graph

Save, Agree = Callable[..., Any], Callable[..., Graph]
X = np.arange(24, dtype=np.float32).reshape(4, 6)
FEEDS = {"x": X, "z": X[:, :4] + 100}


def n(op: str, inputs: str, outputs: str = "y", **attrs: Any) -> Any:
    return helper.make_node(op, inputs.split(), outputs.split(), **attrs)


@pytest.mark.parametrize(
    ("split", "attrs", "count"),
    [
        (None, {"axis": 1}, 6),
        (None, {"axis": -1, "keepdims": 0}, 6),
        (3, {"axis": 0}, 2),
        ([1, 3], {}, 2),
        ([4, 2], {"axis": 1, "keepdims": 0}, 2),
    ],
)
def test_split_take_and_join(save: Save, agree: Agree, split: Any, attrs: dict[str, int], count: int) -> None:
    constants = {"k": np.array(count - 1), "axis0": np.array([0])}
    nodes = [
        n("SplitToSequence", "x" if split is None else "x split", "s", **attrs),
        n("SequenceLength", "s", "l"), n("SequenceAt", "s k", "last"), n("SequenceErase", "s k", "t"),
        n("SequenceInsert", "t last axis", "u"), n("ConcatFromSequence", "u", "y", axis=attrs.get("axis", 0)),
    ]  # fmt: skip
    if attrs.get("keepdims") == 0 and split is None:
        nodes[-1] = n("ConcatFromSequence", "u", "y", axis=0, new_axis=1)
    constants["axis"] = np.array(0)
    if split is not None:
        constants["split"] = np.array(split, np.int64)
    graph = agree(save(nodes, {"x": X}, [("l", "int64"), "last", "y"], constants, 13), {"x": X})
    assert not any("Sequence" in node.op for node in graph.nodes)


def test_lists_made_of_tensors(save: Save, agree: Agree) -> None:
    nodes = [
        n("SequenceEmpty", "", "e"), n("SequenceInsert", "e x", "a"), n("SequenceInsert", "a z zero", "b"),
        n("Identity", "b", "c"), n("SequenceErase", "c", "d"), n("SequenceAt", "d minus"),
        n("SequenceLength", "b", "l"),
    ]  # fmt: skip
    constants = {"zero": np.array(0), "minus": np.array(-1)}
    agree(save(nodes, FEEDS, ["y", ("l", "int64")], constants, 16), FEEDS)


def test_a_position_of_the_run(save: Save, agree: Agree) -> None:
    nodes = [n("Neg", "x", "m"), n("SequenceConstruct", "x m x", "s"), n("SequenceAt", "s i")]
    for i in (0, 1, -2):
        feeds = {"x": X, "i": np.array(i)}
        agree(save(nodes, feeds, ["y"], {}, 13), feeds)


def test_sizes_of_the_run(save: Save, agree: Agree) -> None:
    nodes = [n("SplitToSequence", "x sizes", "s", axis=1), n("SequenceAt", "s one")]
    feeds = {"x": X, "sizes": np.array([1, 2, 3])}
    agree(save(nodes, feeds, ["y"], {"one": np.array(1)}, 13), feeds)


def test_optionals(save: Save, agree: Agree) -> None:
    nodes = [n("OptionalHasElement", "x", "h"), n("OptionalGetElement", "x", "g"), n("Abs", "g")]
    agree(save(nodes, {"x": X}, [("h", "bool"), "y"], {}, 18), {"x": X})


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ([n("SplitToSequence", "x i", "s"), n("SequenceAt", "s two")], "fixed number"),
        ([n("SequenceConstruct", "x z", "s"), n("SequenceAt", "s i")], "constant position"),
        ([n("SequenceConstruct", "x z", "s"), n("SequenceAt", "s two")], "from -2 to 1"),
        ([n("SequenceEmpty", "", "s"), n("ConcatFromSequence", "s", axis=0)], "empty"),
        ([n("SequenceEmpty", "", "s"), n("SequenceErase", "s", "t"), n("ConcatFromSequence", "t", axis=0)], "empty"),
    ],
)
def test_refusals(save: Save, nodes: list[Any], text: str) -> None:
    feeds = {**FEEDS, "i": np.array(1)}
    problems = check_onnx(save(nodes, feeds, ["y"], {"two": np.array(2)}, 13))
    assert text in problems[0].advice


def test_a_split_into_very_many_is_refused(save: Save) -> None:
    """Of a size that a file declares, nothing is allocated."""
    path = save([n("SplitToSequence", "x", "s"), n("SequenceAt", "s two")], {"x": X}, ["y"], {"two": np.array(2)}, 13)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 10**12
    onnx.save(model, path)
    assert "at most 4096" in check_onnx(path)[0].advice


def test_sequences_that_grow_by_a_tensor_have_a_limit(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a list of its own: ten thousand of them hold fifty million names."""
    nodes = [n("SequenceConstruct", "x", "s0")]
    nodes += [n("SequenceInsert", f"s{i} x", f"s{i + 1}") for i in range(20)]
    path = save([*nodes, n("SequenceLength", "s20")], {"x": X}, [("y", "int64")], {}, 13)
    assert not check_onnx(path)
    monkeypatch.setattr("edgert.converters.onnx.sequences.MAX_LISTED", 200)
    assert "at most 200 tensors in all sequences" in check_onnx(path)[0].advice
