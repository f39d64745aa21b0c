"""GroupQueryAttention against ONNX Runtime's operator of that name, against its formula, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edgert.errors import InputError, UnsupportedError
from edgert.graph.ir import Node, TensorType
from edgert.graph.operators import OPERATORS
from edgert.kernels_cpu.reference import evaluate

rng = np.random.default_rng(11)


def values(*shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


def rows_at(past: int, rows: int) -> Any:
    return np.arange(past, past + rows, dtype=np.int32)


def frequencies(half: int) -> Any:
    return (10000.0 ** (-np.arange(half) / half)).astype(np.float32)


def run_onnxruntime(
    qkv: Any, key: Any, value: Any, past: int, half: int, attrs: dict[str, Any]
) -> tuple[Any, Any, Any]:
    """com.microsoft GroupQueryAttention of one sequence; key and value [KV, past, d]."""
    seqlens, total = np.array([past + len(qkv) - 1], np.int32), np.array([past + len(qkv)], np.int32)
    angle = np.arange(past + len(qkv))[:, None] * frequencies(max(half, 1)).astype(np.float64)
    feeds = {"qkv": qkv[None], "past_key": key[None], "past_value": value[None], "seqlens": seqlens, "total": total}
    names = ["qkv", "", "", "past_key", "past_value", "seqlens", "total"]
    if half:
        feeds |= {"cos": np.cos(angle).astype(np.float32), "sin": np.sin(angle).astype(np.float32)}
        names += ["cos", "sin"]
    types = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}
    graph = helper.make_graph(
        [helper.make_node("GroupQueryAttention", names, ["y", "k", "v"], domain="com.microsoft", **attrs)],
        "attention",
        [helper.make_tensor_value_info(n, types[x.dtype], x.shape) for n, x in feeds.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("y", "k", "v")],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return tuple(found[0] for found in session.run(None, feeds))


@pytest.mark.parametrize(("heads", "kv_heads", "depth"), [(2, 2, 16), (6, 2, 32), (8, 1, 16)])
@pytest.mark.parametrize(("past", "rows"), [(0, 1), (0, 7), (5, 1), (9, 4)])
@pytest.mark.parametrize("extra", [{}, {"softcap": 2.0}, {"local_window_size": 4}, {"scale": 0.7}])
def test_agrees_with_onnxruntime(
    heads: int, kv_heads: int, depth: int, past: int, rows: int, extra: dict[str, float]
) -> None:
    attrs: dict[str, Any] = {"num_heads": heads, "kv_num_heads": kv_heads, **extra}
    qkv, context = values(rows, (heads + 2 * kv_heads) * depth), past + rows + 3
    if past > 0 and rows > 1:  # it continues a sequence by one row at a time
        first = evaluate("GroupQueryAttention", [
            qkv[:-1], values(kv_heads, context, depth), values(kv_heads, context, depth),
            rows_at(past, rows - 1), frequencies(depth // 2),
        ], attrs)  # fmt: skip
        past, qkv, key, value = past + rows - 1, qkv[-1:], first[1], first[2]
    else:
        key, value = values(2, kv_heads, context, depth)
    inputs = [qkv, key, value, rows_at(past, len(qkv)), frequencies(depth // 2)]
    y, new_key, new_value = evaluate("GroupQueryAttention", inputs, attrs)
    want = run_onnxruntime(qkv, key[:, :past], value[:, :past], past, depth // 2, {**attrs, "do_rotary": 1})
    end = past + len(qkv)
    np.testing.assert_allclose(y, want[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new_key[:, :end], want[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(new_value[:, :end], want[2])
    np.testing.assert_array_equal(new_key[:, end:], key[:, end:])
    assert new_key is not key, "the past stays as it was"


def test_formula_with_norms_partial_rotation_and_scaled_angles() -> None:
    heads, kv_heads, depth, half, past, rows = 4, 2, 16, 4, 3, 5
    qkv, frequency = values(rows, 8 * depth), frequencies(half)
    key, value = values(2, kv_heads, 12, depth)
    weights = values(2, depth)
    attrs = {"num_heads": 4, "kv_num_heads": 2, "rotary_scale": 1.25, "qk_norm_epsilon": 1e-3, "softcap": 5.0}
    y, new_key, new_value = evaluate(
        "GroupQueryAttention", [qkv, key, value, rows_at(past, rows), frequency, *weights], attrs
    )
    parts = qkv.reshape(rows, 8, depth).astype(np.float64)

    def prepared(x: Any, weight: Any, position: int) -> Any:
        x = x / math.sqrt(np.mean(x * x) + 1e-3) * weight
        for i in range(half):
            turn = 1.25 * np.exp(1j * position * frequency[i])
            pair = complex(x[i], x[i + half]) * turn
            x[i], x[i + half] = pair.real, pair.imag
        return x

    keys, stored = key.astype(np.float64), value.astype(np.float64)
    for t in range(rows):
        for h in range(kv_heads):
            keys[h, past + t] = prepared(parts[t, heads + h], weights[1], past + t)
            stored[h, past + t] = parts[t, heads + kv_heads + h]
    np.testing.assert_allclose(new_key, keys, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new_value, stored, rtol=1e-6)
    for t in range(rows):
        for h in range(heads):
            seen = past + t + 1
            s = keys[h // 2, :seen] @ prepared(parts[t, h], weights[0], past + t) / math.sqrt(depth)
            e = np.exp(5 * np.tanh(s / 5))
            want = e @ stored[h // 2, :seen] / e.sum()
            np.testing.assert_allclose(y[t, depth * h : depth * (h + 1)], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [0, 1])
def test_without_a_cache(causal: int) -> None:
    rows, depth = 6, 16
    qkv = values(rows, 6 * depth)
    (y,) = evaluate("GroupQueryAttention", [qkv], {"num_heads": 2, "kv_num_heads": 2, "causal": causal})
    q, k, v = qkv.reshape(rows, 3, 2, depth).transpose(1, 2, 0, 3)
    s = q @ k.swapaxes(1, 2) / 4
    if causal:
        s[:, ~np.tri(rows, dtype=bool)] = -np.inf
    e = np.exp(s)
    want = (e / e.sum(-1, keepdims=True)) @ v
    np.testing.assert_allclose(y, want.swapaxes(0, 1).reshape(rows, -1), rtol=1e-4, atol=1e-5)


def test_no_rows() -> None:
    key, value = values(2, 1, 4, 16)
    y, new_key, new_value = evaluate(
        "GroupQueryAttention", [values(0, 48), key, value, rows_at(0, 0)], {"num_heads": 1, "kv_num_heads": 1}
    )
    assert y.shape == (0, 16)
    np.testing.assert_array_equal(new_key, key)
    np.testing.assert_array_equal(new_value, value)


@pytest.mark.parametrize("positions", [[3, 4], [-1, 0], [1, 1], [2, 1]])
def test_positions_that_do_not_fit(positions: list[int]) -> None:
    key, value = values(2, 1, 4, 16)
    with pytest.raises(InputError, match=r"consecutive positions in \[0, 4\)"):
        evaluate(
            "GroupQueryAttention", [values(2, 48), key, value, np.array(positions, np.int32)],
            {"num_heads": 1, "kv_num_heads": 1},
        )  # fmt: skip


def kind(*shape: int | str, dtype: str = "float32") -> TensorType:
    return TensorType(dtype, shape)


QKV, CACHE, AT = kind("T", 80), kind(2, "C", 10), kind("T", dtype="int32")
"""Four query heads and two key-value heads of ten numbers."""


def infer(inputs: list[TensorType | None], **attrs: Any) -> list[TensorType]:
    attrs = {"num_heads": 4, "kv_num_heads": 2, **attrs}
    names = tuple("" if t is None else f"x{i}" for i, t in enumerate(inputs))
    node = Node("GroupQueryAttention", names, ("y",), attrs)
    return OPERATORS["GroupQueryAttention"].infer(node, inputs, [None] * len(inputs))


def test_types() -> None:
    assert infer([QKV, CACHE, CACHE, AT, kind(5), kind(10), kind(10)]) == [kind("T", 40), CACHE, CACHE]
    assert infer([QKV, CACHE, CACHE, AT], local_window_size=3, softcap=30.0) == [kind("T", 40), CACHE, CACHE]
    assert infer([QKV, None, None, None], causal=0) == [kind("T", 40)]


@pytest.mark.parametrize(("inputs", "attrs", "message"), [
    ([kind("T", 8, 10)], {}, "qkv of rank 2"),
    ([kind("T", 81)], {}, "qkv of 8 heads .4 queries, 2 keys, 2 values., found width 81"),
    ([kind("T", "D")], {}, "known width of qkv"),
    ([kind("T", 80, dtype="float16")], {}, "qkv of float32"),
    ([QKV], {"kv_num_heads": 3}, "multiple of kv_num_heads"),
    ([QKV], {"num_heads": 0}, "num_heads >= 1"),
    ([QKV, CACHE], {}, "past_key and past_value together"),
    ([QKV, CACHE, CACHE], {}, "positions, which say where"),
    ([QKV, kind(2, 10), CACHE, AT], {}, "kv heads, context, depth"),
    ([QKV, kind(3, "C", 10), CACHE, AT], {}, "axis 0 of past_key"),
    ([QKV, CACHE, kind(2, "C", 11), AT], {}, "axis 2 of past_value"),
    ([QKV, CACHE, CACHE, kind("T")], {}, "positions of int32"),
    ([QKV, CACHE, CACHE, kind(1, 1, dtype="int32")], {}, "positions of shape"),
    ([QKV, CACHE, CACHE, AT, kind(6)], {}, "1 to 5 frequencies"),
    ([QKV, CACHE, CACHE, AT, kind(5, 1)], {}, "inv_freq of rank 1"),
    ([QKV, CACHE, CACHE, AT, None, kind(9)], {}, "axis 0 of q_norm"),
    ([QKV, CACHE, CACHE, AT], {"causal": 0}, "causal 1 with a cache"),
    ([QKV], {"causal": 0, "local_window_size": 4}, "local_window_size 0 where causal is 0"),
    ([QKV], {"local_window_size": -1}, "local_window_size >= 0"),
    ([QKV], {"softcap": -1.0}, "softcap >= 0"),
    ([QKV], {"scale": math.nan}, "scale >= 0"),
])  # fmt: skip
def test_refusals(inputs: list[TensorType | None], attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        infer(inputs, **attrs)
