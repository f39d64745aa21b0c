"""Sessions: right answers, clear refusals, shapes, threads, forks and ends."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from networks import Network, expected, float_model, image, int8_model

import edgert
from edgert.errors import FormatError, InputError, MemoryBudgetError
from edgert.format import Model, write_model
from edgert.kernels_cpu.levels import host_levels
from edgert.plan import planner
from edgert.runtime.session import KEPT_PLANS, Session


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans use all threads, however short the program."""
    monkeypatch.setattr(planner, "ONE_THREAD_US", 0.0)


def check(model: Model, found: dict[str, np.ndarray], feeds: dict[str, np.ndarray]) -> None:
    for name, right in expected(model, feeds).items():
        np.testing.assert_allclose(found[name], right, rtol=1e-5, atol=1e-5)


# ---- answers
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("make", [float_model, int8_model])
def test_answers_are_right(make, threads: int, shared: None) -> None:  # type: ignore[no-untyped-def]
    model = make()
    with Session(model, threads=threads) as session:
        for batch in (1, 2, 0):
            feeds = image(batch)
            check(model, session.run(feeds), feeds)


@pytest.mark.parametrize("make", [float_model, int8_model])
def test_bits_do_not_depend_on_threads(make, shared: None) -> None:  # type: ignore[no-untyped-def]
    model, feeds = make(), image(3)
    answers = []
    for threads in (1, 2, 5):
        with Session(model, threads=threads) as session:
            answers += [session.run(feeds) for _ in range(3)]
    for answer in answers[1:]:
        for name in answer:
            assert answer[name].tobytes() == answers[0][name].tobytes()


def test_int8_bits_do_not_depend_on_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    model, feeds = int8_model(), image(2)
    right = expected(model, feeds)["features"]
    for level in host_levels():
        monkeypatch.setenv("EDGERT_ISA", level.name)
        with Session(model) as session:
            assert session.level is level
            assert np.array_equal(session.run(feeds)["features"], right), level.name


def test_load_reads_the_file(tmp_path: Path) -> None:
    model = float_model()
    write_model(model, tmp_path / "m.edge")
    with edgert.load(tmp_path / "m.edge", threads=2, ram="64M", shapes={"N": 1}) as session:
        check(model, session.run(image()), image())
        assert session.info.name == "test-float"
        assert session.info.labels == model.info.labels
    with pytest.raises(FormatError, match="no such file"):
        edgert.load(tmp_path / "other.edge")
    with pytest.raises(InputError, match="device"):
        edgert.load(tmp_path / "m.edge", device="abacus")


def test_outputs_are_new_arrays() -> None:
    session = Session(float_model())
    first = session.run(image(seed=1))["scores"]
    kept = first.copy()
    second = session.run(image(seed=2))["scores"]
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)
    first[:] = 0
    assert np.array_equal(second, session.run(image(seed=2))["scores"])


def test_as_in_onnx_runtime() -> None:
    session = Session(float_model())
    (value,) = session.get_inputs()
    assert (value.name, value.shape, value.type) == ("image", ["N", 3, 12, 12], "tensor(float)")
    (value,) = session.get_outputs()
    assert (value.name, value.type, value.shape[1]) == ("scores", "tensor(float)", 10)
    listed = session.run(None, image())
    named = session.run(["scores"], image())
    assert isinstance(listed, list)
    assert np.array_equal(listed[0], named[0])


def test_strided_inputs_and_lists() -> None:
    session = Session(float_model())
    x = image()["image"]
    flipped = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    assert np.array_equal(session.run({"image": flipped})["scores"], session.run({"image": x})["scores"])
    assert np.array_equal(session.run({"image": x.tolist()})["scores"], session.run({"image": x})["scores"])


def test_constants_and_passed_through_inputs_are_answers() -> None:
    net = Network()
    x = net.input("x", (2,))
    c = net.constant("c", np.arange(3, dtype=np.float32))
    session = Session(net.model(x, c))
    answer = session.run({"x": np.array([4, 5], np.float32)})
    assert answer["x"].tolist() == [4, 5]
    assert answer["c"].tolist() == [0, 1, 2]
    answer["c"][:] = 9
    assert session.run({"x": np.zeros(2, np.float32)})["c"].tolist() == [0, 1, 2]


# ---- refusals
@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "expected the inputs 'image' float32.*found none"),
        ({"img": 0}, "found 'img'"),
        ({"image": np.zeros((1, 3, 12, 12))}, r"float64; convert it with .astype\('float32'\)"),
        ({"image": np.zeros((3, 12, 12), np.float32)}, r"array\[None\]"),
        ({"image": np.zeros((1, 4, 12, 12), np.float32)}, r"found shape \[1, 4, 12, 12\]"),
        ({"image": "photo.jpg"}, "found str"),
        ({"image": None}, "found"),
        ({"image": object()}, "found object"),
    ],
)
def test_wrong_inputs(feeds: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Session(float_model()).run(feeds)


def test_wrong_calls() -> None:
    session = Session(float_model())
    with pytest.raises(InputError, match="expected a dict"):
        session.run([1, 2])  # type: ignore[call-overload]
    with pytest.raises(InputError, match="found 'nothing'"):
        session.run(["nothing"], image())
    with pytest.raises(InputError, match="list of output names"):
        session.run("scores", image())  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "threads"),
        ({"threads": 1000}, "threads"),
        ({"ram": "lots"}, "512M"),
        ({"shapes": {"M": 1}}, "no dimension 'M'; it has N"),
        ({"shapes": {"N": 0}}, "positive size"),
    ],
)
def test_wrong_options(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Session(float_model(), **arguments)  # type: ignore[arg-type]


def test_inputs_that_disagree() -> None:
    net = Network()
    a, b = net.input("a", ("N", 2)), net.input("b", ("N", 2))
    session = Session(net.model(net.node("Add", a, b)))
    with pytest.raises(InputError, match="'N' is 3 here and 2 in input 'a'"):
        session.run({"a": np.zeros((2, 2), np.float32), "b": np.zeros((3, 2), np.float32)})
    bound = Session(float_model(), shapes={"N": 2})
    with pytest.raises(InputError, match="1 here and 2 in shapes"):
        bound.run(image(1))


# ---- shapes and memory
def test_plans_are_kept_per_shape() -> None:
    session = Session(float_model())
    with pytest.raises(InputError, match="'N' is not bound"):
        session.plan()
    session.run(image(1))
    first = session.plan()
    session.run(image(2))
    assert session.plan() is not first
    assert session.plan({"N": 1}) is first
    for batch in range(3, 3 + KEPT_PLANS):
        session.run(image(batch))
    assert session.plan({"N": 1}) is not first
    assert len(session._ready) == KEPT_PLANS


def test_bound_shapes_plan_at_load() -> None:
    session = Session(float_model(), shapes={"N": 2})
    assert "layers native" in session.summary()
    check(float_model(), session.run(image(2)), image(2))


def test_a_budget_holds_for_all_kept_plans_together() -> None:
    need = Session(float_model(), threads=1, shapes={"N": 2}).plan().memory.total
    session = Session(float_model(), threads=1, ram=need)
    for batch in (1, 2, 1):
        session.run(image(batch))
        assert sum(e.plan.memory.total for e in session._ready.values()) <= need
    with pytest.raises(MemoryBudgetError, match="smallest budget that works"):
        session.run(image(4))
    session.run(image(2))


# ---- threads, forks, ends
def test_one_session_from_many_threads(shared: None) -> None:
    model = float_model()
    session = Session(model, threads=2)
    feeds = [image(1 + seed % 2, seed=seed) for seed in range(6)]
    right = [session.run(feed)["scores"] for feed in feeds]
    wrong: list[int] = []

    def work(start: int) -> None:
        for i in range(30):
            k = (start + i) % len(feeds)
            if not np.array_equal(session.run(feeds[k])["scores"], right[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    session.close()


def test_many_sessions_at_once(shared: None) -> None:
    sessions = [Session(float_model(), threads=2) for _ in range(4)]
    right = sessions[0].run(image())["scores"]
    for _ in range(10):
        for session in sessions:
            assert np.array_equal(session.run(image())["scores"], right)
    for session in sessions:
        session.close()


def test_closing(shared: None) -> None:
    gc.collect()  # what earlier tests forgot
    before = threading.active_count()
    session = Session(float_model(), threads=3)
    session.run(image())
    assert threading.active_count() == before + 2
    session.close()
    session.close()
    assert threading.active_count() == before
    with pytest.raises(InputError, match="closed"):
        session.run(image())


def test_forgotten_sessions_stop_their_workers(shared: None) -> None:
    gc.collect()  # those of earlier tests
    before = threading.active_count()
    session = Session(float_model(), threads=3)
    session.run(image())
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None
    assert threading.active_count() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_answers(shared: None) -> None:
    session = Session(float_model(), threads=2)
    right = session.run(image())["scores"]
    busy = threading.Event()
    stop = threading.Event()

    def keep_running() -> None:
        while not stop.is_set():
            session.run(image())
            busy.set()

    thread = threading.Thread(target=keep_running)
    thread.start()
    busy.wait()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                same = all(np.array_equal(session.run(image())["scores"], right) for _ in range(3))
                session.close()
                os._exit(0 if same else 1)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
    finally:
        stop.set()
        thread.join()
    assert np.array_equal(session.run(image())["scores"], right)


@pytest.mark.parametrize("ending", ["", "del session", "session.close()", "import os; os.kill(os.getpid(), 2)"])
def test_the_interpreter_ends_cleanly(tmp_path: Path, ending: str) -> None:
    write_model(float_model(), tmp_path / "m.edge")
    code = f"""
import edgert, numpy as np
from edgert.kernels_cpu.levels import host_levels
from edgert.plan import planner
planner.ONE_THREAD_US = 0.0
session = edgert.load({str(tmp_path / "m.edge")!r}, threads=3)
for batch in (1, 2):
    session.run({{"image": np.zeros((batch, 3, 12, 12), np.float32)}})
print("ran", session.plan().threads, flush=True)
{ending}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "ran 3"
    interrupted = "kill" in ending
    assert (done.returncode != 0) == interrupted, done.stderr
    assert interrupted or not done.stderr


# ---- measuring
def test_profile_names_every_step(shared: None) -> None:
    model = float_model()
    for threads in (1, 2):
        with Session(model, threads=threads) as session:
            session.run(image())
            for _ in range(3):
                times = session.profile(image())
            steps = [s for s in session.plan().steps if s.kind != "free"]
            assert [t.node for t in times] == [s.node for s in steps]
            assert all(t.us > 0 for t in times)
            starts = [t.start_us for t in times]
            assert starts == sorted(starts)
            check(model, session.run(image()), image())
