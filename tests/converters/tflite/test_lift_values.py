"""Arithmetic, activations, comparisons, normalizations and reductions from TFLite give LiteRT's values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compare import Case, Const, check
from flat_model import FlatModel

from edgert.converters.tflite.importer import import_tflite
from edgert.graph.execute import run_graph

RNG = np.random.default_rng(7)


def floats(*shape: int, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


def ints(*shape: int, low: int = -9, high: int = 9, dtype: str = "int32") -> np.ndarray:
    return RNG.integers(low, high, shape).astype(dtype)


def bools(*shape: int) -> np.ndarray:
    return RNG.random(shape) < 0.5


UNARY = [
    "ABS", "NEG", "EXP", "SIN", "COS", "CEIL", "FLOOR", "ROUND", "SIGN", "SQUARE", "TANH", "LOGISTIC", "RELU", "RELU6",
    "RELU_N1_TO_1", "RELU_0_TO_1", "HARD_SWISH", "ELU", "LOG_SOFTMAX",
]  # fmt: skip

CASES = [
    *(Case(op, floats(2, 3, 5)) for op in UNARY),
    *(Case(op, floats(2, 5, low=0.1)) for op in ("LOG", "SQRT", "RSQRT")),
    *(Case(op, floats(2, 3), floats(2, 3, low=0.5)) for op in ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM")),
    *(Case(op, floats(2, 4, 3), Const(floats(3)), fused_activation_function="RELU6") for op in ("ADD", "SUB", "MUL")),
    *(Case(op, floats(2, 1, 3), floats(4, 1)) for op in ("SQUARED_DIFFERENCE", "MAXIMUM", "ADD")),
    *(Case(op, ints(4, 5), ints(4, 5, low=1), outputs=("int32",))
      for op in ("ADD", "SUB", "MUL", "DIV", "FLOOR_DIV", "FLOOR_MOD")),
    *(Case(op, floats(4, 5), floats(4, 5, low=0.5)) for op in ("FLOOR_DIV", "FLOOR_MOD")),
    Case("POW", floats(3, 4, low=0.1), floats(3, 4)),
    Case("ATAN2", floats(5, 7), floats(5, 7)),
    Case("ATAN2", np.array([0, 0, 1, -1, 0, -2], np.float32), np.array([0, 1, 0, 0, -1, -3], np.float32)),
    Case("ADD_N", floats(2, 3), floats(2, 3), floats(2, 3)),
    Case("ADD_N", ints(2, 3), ints(2, 3), outputs=("int32",)),
    Case("BITWISE_XOR", ints(6), ints(6), outputs=("int32",)),
    Case("RIGHT_SHIFT", ints(9), ints(9, low=0), outputs=("int32",)),
    Case("LEAKY_RELU", floats(3, 5), alpha=0.2),
    Case("PRELU", floats(2, 3, 4, 5), Const(floats(1, 1, 5))),
    Case("GELU", floats(3, 5), approximate=False),
    Case("GELU", floats(3, 5), approximate=True),
    Case("SOFTMAX", floats(3, 5), beta=1.0),
    Case("SOFTMAX", floats(2, 3, 3, 5), beta=0.5),
    Case("L2_NORMALIZATION", floats(2, 3, 5)),
    Case("L2_NORMALIZATION", np.zeros((2, 5), np.float32)),
    Case("LOCAL_RESPONSE_NORMALIZATION", floats(1, 3, 3, 7), radius=2, bias=1.5, alpha=0.3, beta=0.75),
    *(Case(op, ints(3, 4, low=0, high=3), ints(3, 4, low=0, high=3), outputs=("bool",))
      for op in ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")),
    Case("LESS", floats(3, 4), floats(4), outputs=("bool",)),
    *(Case(op, bools(3, 4), bools(3, 4), outputs=("bool",)) for op in ("LOGICAL_AND", "LOGICAL_OR")),
    Case("LOGICAL_NOT", bools(3, 4), outputs=("bool",)),
    Case("SELECT", bools(3, 4), floats(3, 4), floats(3, 4)),
    Case("SELECT", bools(3), floats(3, 4, 2), floats(3, 4, 2)),
    Case("SELECT_V2", bools(3, 1), floats(4), floats(3, 4)),
    Case("CAST", floats(3, 4), outputs=("int32",), in_data_type="FLOAT32", out_data_type="INT32"),
    Case("CAST", ints(3, 4), outputs=("float32",), in_data_type="INT32", out_data_type="FLOAT32"),
    Case("CAST", ints(3, 4, low=-1, high=2), outputs=("bool",), in_data_type="INT32", out_data_type="BOOL"),
    *(Case(op, floats(2, 3, 4, 5), Const([1, 2]), keep_dims=keep)
      for op in ("SUM", "MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD") for keep in (False, True)),
    *(Case(op, floats(2, 3, 4), Const([-1])) for op in ("SUM", "MEAN", "REDUCE_MAX")),
    Case("SUM", ints(2, 3, 4), Const([0, 2]), outputs=("int32",)),
    Case("MEAN", floats(2, 3, 4), Const([0, 1, 2])),
    Case("REDUCE_ANY", bools(3, 4), Const([1]), outputs=("bool",)),
    Case("REDUCE_ALL", bools(3, 4), Const([0]), outputs=("bool",), keep_dims=True),
    Case("ARG_MAX", floats(3, 5), Const(1), outputs=("int32",), output_type="INT32"),
    Case("ARG_MIN", ints(3, 5, low=0, high=3), Const([-1]), outputs=("int64",), output_type="INT64"),
    Case("BUCKETIZE", floats(3, 5), outputs=("int32",), boundaries=[-1.0, 0.5, 2.0]),
    Case("CUMSUM", floats(3, 5), Const(1), exclusive=False, reverse=False),
    Case("CUMSUM", floats(3, 5), Const([0]), exclusive=True, reverse=True),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path, rtol=1e-5, atol=2e-6)


def test_int8_comparison_is_of_real_values(tmp_path: Path) -> None:
    m = FlatModel()
    a = m.input("a", (4,), "int8", scale=0.5, zero_point=3)
    b = m.input("b", (4,), "int8", scale=0.25, zero_point=-5)
    m.output(m.op("GREATER", [a, b], ("y", (4,), "bool")))
    feeds = {"a": np.array([3, 4, 5, 0], np.int8), "b": np.array([-5, -5, -1, -20], np.int8)}
    got = run_graph(import_tflite(m.save(tmp_path / "m.tflite")), feeds)["y"]
    np.testing.assert_array_equal(got, 0.5 * (feeds["a"] - 3.0) > 0.25 * (feeds["b"] + 5.0))
