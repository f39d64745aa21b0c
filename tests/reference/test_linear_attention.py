"""LinearAttention means what ONNX's own reference says it means, and carries its state on."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgert.errors import UnsupportedError
from edgert.graph.ir import Node, TensorType
from edgert.graph.operators import OPERATORS
from edgert.kernels_cpu.reference import evaluate

RULES = {"linear": (), "gated": ("decay",), "delta": ("beta",), "gated_delta": ("decay", "beta")}


def random_inputs(rng: np.random.Generator, rule: str, heads: int, shared: bool) -> list[Any]:
    key = rng.standard_normal((2, 5, 2, 4))
    key /= np.linalg.norm(key, axis=-1, keepdims=True)
    decay = -np.abs(rng.standard_normal((2, 5, 2 if shared else 8)))
    beta = rng.random((2, 5, 1 if shared else 2))
    values: list[Any] = [
        rng.standard_normal((2, 5, heads * 4)), key.reshape(2, 5, 8), rng.standard_normal((2, 5, 6)),
        rng.standard_normal((2, 2, 4, 3)), decay if "decay" in RULES[rule] else None,
        beta if "beta" in RULES[rule] else None,
    ]  # fmt: skip
    return [None if v is None else v.astype(np.float32) for v in values]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("heads", [2, 4])
@pytest.mark.parametrize("shared", [False, True])
def test_every_rule(rng: np.random.Generator, rule: str, heads: int, shared: bool) -> None:
    inputs = random_inputs(rng, rule, heads, shared)
    attrs = {"q_num_heads": heads, "kv_num_heads": 2, "update_rule": rule}
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    node = onnx.helper.make_node("LinearAttention", names, ["y", "state"], **attrs)
    feeds = {n: v for n, v in zip(names, inputs, strict=True) if v is not None}
    kinds = [onnx.helper.make_tensor_value_info(n, 1, v.shape) for n, v in feeds.items()]
    outs = [onnx.helper.make_tensor_value_info(n, 1, None) for n in ("y", "state")]
    graph = onnx.helper.make_graph([node], "g", kinds, outs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 27)])
    expected = ReferenceEvaluator(model).run(None, feeds)
    found = evaluate("LinearAttention", inputs, attrs)
    types = [None if v is None else TensorType("float32", v.shape) for v in inputs]
    inferred = OPERATORS["LinearAttention"].infer(Node("LinearAttention", tuple(names), ("y", "s"), attrs), types, [])
    for got, want, kind in zip(found, expected, inferred, strict=True):
        assert got.shape == want.shape == kind.shape
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_two_halves_are_the_whole(rng: np.random.Generator) -> None:
    query, key, value, past, decay, beta = random_inputs(rng, "gated_delta", 4, False)
    attrs = {"q_num_heads": 4, "kv_num_heads": 2}
    y, last = evaluate("LinearAttention", [query, key, value, past, decay, beta], attrs)
    parts, state = [], past
    for span in (slice(0, 2), slice(2, 5)):
        part, state = evaluate(
            "LinearAttention",
            [query[:, span], key[:, span], value[:, span], state, decay[:, span], beta[:, span]],
            attrs,
        )
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts, 1), y)
    np.testing.assert_array_equal(state, last)


def test_a_rule_needs_its_gates() -> None:
    kind = TensorType("float32", (1, 2, 4))
    node = Node("LinearAttention", ("q", "k", "v"), ("y",), {"q_num_heads": 1, "kv_num_heads": 1})
    with pytest.raises(UnsupportedError, match="decay, which gated_delta needs"):
        OPERATORS["LinearAttention"].infer(node, [kind] * 3, [None] * 3)
