"""Random graphs of branches, residuals and renames: the planned memory never mixes two tensors up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import Network, expected

from edgert.plan import planner
from edgert.runtime.session import Session

CHANNELS, SIZE = 4, 6
STEP = st.tuples(
    st.sampled_from(["conv", "relu", "add", "mul", "sigmoid", "concat", "reshape", "transpose", "pool"]),
    st.integers(0, 99), st.integers(0, 99), st.booleans(),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def shared_plans():  # type: ignore[no-untyped-def]
    """Even these short programs use all threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "ONE_THREAD_US", 0.0)
        yield


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, min_size=1, max_size=9), st.sampled_from([1, 2]))
def test_random_graphs(steps: list[tuple[str, int, int, bool]], threads: int) -> None:
    net = Network(3)
    values = [net.input("x", (2, CHANNELS, SIZE, SIZE))]
    wide = net.constant("wide", np.array([2, CHANNELS, SIZE * SIZE], np.int64))
    back = net.constant("back", np.array([2, CHANNELS, SIZE, SIZE], np.int64))
    outputs = []
    for kind, first, second, is_output in steps:
        a, b = values[first % len(values)], values[second % len(values)]
        if kind == "conv":
            made = net.conv(a, CHANNELS, CHANNELS, 1 + 2 * (second % 2))
        elif kind in ("add", "mul"):
            made = net.node(kind.capitalize(), a, b)
        elif kind == "concat":
            made = net.conv(net.node("Concat", a, b, axis=1), 2 * CHANNELS, CHANNELS, 1)
        elif kind == "reshape":
            made = net.node("Reshape", net.node("Reshape", a, wide), back)
        elif kind == "transpose":
            made = net.node("Transpose", a, perm=[0, 1, 3, 2])
        elif kind == "pool":
            made = net.node("MaxPool", a, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        else:
            made = net.node({"relu": "Relu", "sigmoid": "Sigmoid"}[kind], a)
        values.append(made)
        if is_output:
            outputs.append(made)
    model = net.model(*(outputs or values[-1:]))
    feeds = {"x": net.rng.standard_normal((2, CHANNELS, SIZE, SIZE)).astype(np.float32)}
    right = expected(model, feeds)
    with Session(model, threads=threads) as session:
        for _ in range(2):
            found = session.run(feeds)
            for name, value in right.items():
                np.testing.assert_allclose(found[name], value, rtol=2e-4, atol=2e-4)
