"""Plans before a run: of the whole graph where nothing waits, else of the part that is known."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.errors import InputError
from edgert.graph.ir import Graph, Node, TensorType
from edgert.kernels_cpu.levels import LEVELS
from edgert.plan.known import plan_known
from edgert.plan.plan import Plan


def graph() -> Graph:
    """y = relu(x) says how often z is repeated; v does not wait for it."""
    made = Graph("g", ["x", "n"], ["z", "v"])
    made.types = {"x": TensorType("float32", ("N", 4)), "n": TensorType("int64", (2,))}
    made.types |= {name: TensorType("float32", ("a", "b")) for name in ("y", "z", "v", "w")}
    made.nodes = [
        Node("Relu", ("x",), ("y",), {}, "relu"),
        Node("Tile", ("y", "n"), ("w",), {}, "tile"),
        Node("Relu", ("w",), ("z",), {}, "after"),
        Node("Neg", ("y",), ("v",), {}, "neg"),
    ]
    return made


def planned(given: Graph, **sizes: int) -> Plan:
    return plan_known(given, {}, sizes, level=LEVELS["x86-64-v3"], threads=1)


def test_nodes_that_wait_for_values_are_left_for_later() -> None:
    plan = planned(graph(), N=3)
    assert {step.node for step in plan.steps} == {"relu", "neg"}
    assert [(step.node, step.reason) for step in plan.later][1] == ("after", "waits for a node above")
    assert plan.later[0].node == "tile" and "repeats" in plan.later[0].reason
    assert plan.outputs.keys() >= {"v"} and "z" not in plan.outputs


def test_a_graph_without_such_nodes_is_planned_whole() -> None:
    whole = graph()
    whole.inputs.remove("n")
    whole.constants["n"] = np.array([2, 1])
    plan = planned(whole, N=3)
    assert not plan.later and {"tile", "neg"} <= {step.node for step in plan.steps}


def test_names_of_sizes_are_checked() -> None:
    with pytest.raises(InputError, match="named dimension"):
        planned(graph(), M=3)
