"""State of a model from run to run: steps, streams apart, first values, save and go on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from edgert.errors import InputError, UnsupportedError
from edgert.format import Model, ModelInfo
from edgert.format.model import LanguageInfo
from edgert.graph.ir import Graph, Node, TensorType
from edgert.runtime.session import Session


def averager(batch: int | str = 1, first: bool = True) -> Graph:
    """h' = 0.5 h + x; y = h' + 1: x, y, h float32 [batch, 2]."""
    kind = TensorType("float32", (batch, 2))
    graph = Graph(
        "averager", ["x", "h"], ["y", "h_next"],
        [
            Node("Mul", ("h", "half"), ("kept",), name="decay"),
            Node("Add", ("kept", "x"), ("h_next",), name="add"),
            Node("Add", ("h_next", "one"), ("y",), name="out"),
        ],
        {"x": kind, "h": kind, "y": kind, "h_next": kind},
    )  # fmt: skip
    graph.add_constant("half", np.array(0.5, np.float32))
    graph.add_constant("one", np.array(1, np.float32))
    graph.states = {"h": "h_next"}
    if first:
        graph.initial = {"h": np.array([[8, 4]], np.float32)}
    return graph


def model(graph: Graph, info: ModelInfo | None = None) -> Model:
    return Model(graph, info=info or ModelInfo())


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(model(averager()), threads=1) as found:
        yield found


X = np.array([[1, 2]], np.float32)


def test_every_step_goes_on_from_the_last(session: Session) -> None:
    state = session.state()
    assert state.run({"x": X})["y"].tolist() == [[6, 5]]
    assert state.run({"x": X})["y"].tolist() == [[4.5, 5]]
    (y,) = state.run(None, {"x": X})
    assert y.tolist() == [[3.75, 5]]
    assert state.run(["y"], {"x": X})[0].tolist() == [[3.375, 5]]


def test_states_are_hidden(session: Session) -> None:
    assert [value.name for value in session.get_inputs()] == ["x"]
    assert [value.name for value in session.get_outputs()] == ["y"]
    assert list(session.state().run({"x": X})) == ["y"]


def test_session_run_begins_anew(session: Session) -> None:
    state = session.state()
    state.run({"x": X})
    assert session.run({"x": X})["y"].tolist() == [[6, 5]]
    assert session.run(None, {"x": X})[0].tolist() == [[6, 5]]
    assert len(session.profile({"x": X})) > 0


def test_streams_do_not_touch_each_other(session: Session) -> None:
    one, two = session.state(), session.state()
    alone = [one.run({"x": X * i})["y"].tolist() for i in range(4)]
    three = session.state()
    mixed = []
    for i in range(4):
        mixed.append(two.run({"x": X * i})["y"].tolist())
        three.run({"x": -X})
    assert mixed == alone


def test_reset_copy_and_load(session: Session) -> None:
    state = session.state()
    first = state.run({"x": X})["y"]
    kept = state.tensors
    twin = state.copy()
    second = state.run({"x": X})["y"]
    assert np.array_equal(twin.run({"x": X})["y"], second)
    other = session.state()
    other.load(kept)
    assert np.array_equal(other.run({"x": X})["y"], second)
    state.reset()
    assert np.array_equal(state.run({"x": X})["y"], first)


def test_tensors_are_copies(session: Session) -> None:
    state = session.state()
    state.tensors["h"][:] = 99
    assert state.tensors["h"].tolist() == [[8, 4]]
    given = {"h": np.zeros((1, 2), np.float32)}
    state.load(given)
    given["h"][:] = 99
    assert state.tensors["h"].tolist() == [[0, 0]]


def test_zeros_where_no_first_value_is_given() -> None:
    with Session(model(averager(first=False)), threads=1) as session:
        assert session.state().run({"x": X})["y"].tolist() == [[2, 3]]


def test_a_batch_bound_by_the_first_run() -> None:
    with Session(model(averager("N", first=False)), threads=1) as session:
        state = session.state()
        with pytest.raises(InputError, match="'N' is not bound"):
            _ = state.tensors
        rows = np.ones((3, 2), np.float32)
        assert state.run({"x": rows})["y"].tolist() == [[2, 2]] * 3
        before = state.tensors
        with pytest.raises(InputError, match=r"'N' is 2 here|'N' is 3"):
            state.run({"x": rows[:2]})
        assert np.array_equal(state.tensors["h"], before["h"])
        state.reset()
        assert state.run({"x": rows[:2]})["y"].tolist() == [[2, 2]] * 2


def test_wrong_uses(session: Session) -> None:
    state = session.state()
    with pytest.raises(InputError, match="'x'"):
        state.run({"x": X, "h": X})
    with pytest.raises(InputError, match="float64"):
        state.run({"x": X.astype(np.float64)})
    with pytest.raises(InputError, match="output names"):
        state.run(["h_next"], {"x": X})
    with pytest.raises(InputError, match="states h"):
        state.load({})
    with pytest.raises(InputError, match="shape"):
        state.load({"h": np.zeros((2, 2), np.float32)})
    with pytest.raises(InputError, match="list of output names"):
        state.run({"x": X}, {"x": X})  # type: ignore[call-overload]
    session.close()
    with pytest.raises(InputError, match="closed"):
        state.run({"x": X})


def test_a_model_without_state_has_an_empty_one() -> None:
    graph = averager()
    graph.states, graph.initial = {}, {}
    with Session(model(graph), threads=1) as session:
        state = session.state()
        assert state.tensors == {}
        out = state.run({"x": X, "h": X})
        assert sorted(out) == ["h_next", "y"]


def test_language_models_are_refused() -> None:
    info = ModelInfo("llama", language=LanguageInfo("llama", 16, 16))
    with pytest.raises(UnsupportedError, match=r"edgert\.LLM"):
        Session(model(averager(), info))
