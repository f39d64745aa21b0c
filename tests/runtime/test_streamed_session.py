"""Sessions whose weights do not fit: equal answers, budgets that are kept or refused, memory given back and shared."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import onnx
import pytest
import streamed_model
from networks import float_model
from streamed_model import feeds

import edgert
from edgert.converters.convert import convert
from edgert.errors import FormatError, InputError, MemoryBudgetError, StorageError, UnsupportedError
from edgert.format import read_model
from edgert.format.parts import FilePart
from edgert.graph.ir import Array
from edgert.runtime.session import Session

PLACES = """
<ir_version: 8, opset_import: ["": 17]>
g (float[4] x) => (int64[1, n] places) { places = NonZero(x) }
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return streamed_model.build(tmp_path_factory.mktemp("streamed") / "m.edge")


@pytest.fixture(scope="module")
def expected(path: Path) -> Array:
    """What one row gives with all weights mapped."""
    with edgert.load(path) as session:
        return answer(session)


@pytest.fixture(scope="module")
def least(path: Path) -> int:
    """The smallest budget for one row, as the error says it."""
    with pytest.raises(MemoryBudgetError, match="the smallest budget that works is ram=") as caught:
        edgert.load(path, ram=1000, shapes={"N": 1})
    return int(str(caught.value).split("ram=")[1].split()[0])


def answer(session: Session, rows: int = 1) -> Array:
    scores: Array = session.run(feeds(rows))["scores"]
    return scores


def streams(session: Session) -> bool:
    return " read for each run" in session.summary()


@pytest.mark.parametrize("threads", [1, 2])
def test_any_budget_that_works_gives_the_same_bits(path: Path, least: int, expected: Array, threads: int) -> None:
    budgets = [least, least + (200 << 10), least + (900 << 10), least + (3 << 20)]
    found = []
    for ram in budgets:
        with edgert.load(path, ram=ram, threads=threads) as session:
            for _ in range(3):
                assert np.array_equal(answer(session), expected)
            found.append(streams(session))
            if found[-1]:
                assert session._store is not None and session._store.statistics.laps == 3
    assert found == [True, True, True, False]


def test_a_budget_below_the_least_is_refused_before_anything_is_read(path: Path, least: int) -> None:
    with edgert.load(path, ram=least - 1) as session, pytest.raises(MemoryBudgetError, match=f"is ram={least} "):
        answer(session)
    with edgert.load(path, ram=least, stream="never") as session, pytest.raises(MemoryBudgetError, match="mapped"):
        answer(session)


def test_always_reads_weights_that_would_fit(path: Path, expected: Array) -> None:
    with edgert.load(path, stream="always") as session:
        assert np.array_equal(answer(session), expected)
        assert "weights read into memory" in session.summary() and not streams(session)


def test_choices_that_do_not_exist(path: Path) -> None:
    for wrong in ({"stream": "sometimes"}, {"checks": "twice"}):
        with pytest.raises(InputError, match="expected one of"):
            edgert.load(path, **wrong)  # type: ignore[arg-type]


def test_other_shapes_take_the_place_of_those_before(path: Path, least: int, expected: Array) -> None:
    with edgert.load(path) as mapped:
        three = answer(mapped, 3)
    with edgert.load(path, ram=least + (300 << 10)) as session:
        for _ in range(2):
            assert np.array_equal(answer(session), expected)
            assert np.array_equal(answer(session, 3), three)
            assert streams(session)


def test_tables_are_looked_up_and_take_no_memory(path: Path, least: int, expected: Array) -> None:
    """2.3 MB of the file are a table."""
    with edgert.load(path, ram=least) as session:
        answer(session)
        store = session._store
        assert store is not None
        parts = [p.part for s in (store.division.home, *store.division.stages) for p in s.parts]
        assert "table" not in {part.tensor for part in parts} and any("w[" in part.tensor for part in parts)
        assert np.array_equal(session.run(feeds(1))["scores"], expected)


def test_halves_are_streamed_and_widened_before_their_use(path: Path, least: int) -> None:
    """Mapped, they take memory of their own."""
    with edgert.load(path, ram=least, shapes={"N": 1}) as session:
        plan, store = session.plan(), session._store
        assert store is not None
        assert "half" in {p.part.tensor for s in (store.division.home, *store.division.stages) for p in s.parts}
        assert [op.kernel for op in plan.program.ops].count("gather_f16") == 1
    with edgert.load(path, shapes={"N": 1}) as session:
        whole = session.plan().memory.total
    with edgert.load(path, ram=whole - 1, shapes={"N": 1}) as session:
        assert "resident" in session.summary()


def test_profile_measures_streamed_runs(path: Path, least: int) -> None:
    with edgert.load(path, ram=least, shapes={"N": 1}) as session:
        times = session.profile(feeds())
        assert len(times) >= 8 and all(time.us >= 0 for time in times)


# ---- trim


def test_trim_goes_on_with_less(path: Path, least: int, expected: Array) -> None:
    with edgert.load(path) as session:
        assert session.trim() == 0, "nothing is known of the sizes yet"
        assert np.array_equal(answer(session), expected) and not streams(session)
        middle = least + (300 << 10)
        for ram, most in ((middle, middle), (None, middle), ("16M", 16 << 20), (least, least)):
            assert least <= session.trim(ram) <= most
            assert "planned at the next run" in session.summary()
            for _ in range(2):
                assert np.array_equal(answer(session), expected)
            assert streams(session) == (ram != "16M")


def test_trim_to_what_does_not_work_leaves_all_as_it_is(path: Path, least: int, expected: Array) -> None:
    with edgert.load(path, ram=least + 4096, shapes={"N": 1}) as session:
        before = session.summary()
        with pytest.raises(MemoryBudgetError, match=f"ram={least} "):
            session.trim(least - 1)
        assert session.summary() == before and np.array_equal(answer(session), expected)
        session.close()
        with pytest.raises(InputError, match="closed"):
            session.trim()


def test_trim_while_others_run(path: Path, least: int, expected: Array) -> None:
    wrong: list[int] = []
    with edgert.load(path, shapes={"N": 1}) as session:

        def run() -> None:
            wrong.extend(turn for turn in range(20) if not np.array_equal(answer(session), expected))

        runners = [threading.Thread(target=run) for _ in range(2)]
        for runner in runners:
            runner.start()
        for extra in (0, 500 << 10, 8 << 20, 0):
            session.trim(least + extra)
        for runner in runners:
            runner.join()
    assert not wrong


def test_a_model_in_memory_has_nothing_to_stream() -> None:
    model = float_model(1)
    x = {"image": np.zeros((1, 3, 12, 12), np.float32)}
    with Session(model) as session:
        scores = session.run(x)["scores"]
        assert session.trim() > 0
        assert np.array_equal(session.run(x)["scores"], scores)


# ---- several sessions


def test_sessions_share_a_budget(path: Path, least: int, expected: Array) -> None:
    shared = edgert.SharedRam(2 * least + (400 << 10))
    with edgert.load(path, ram=shared, shapes={"N": 1}) as first:
        assert np.array_equal(answer(first), expected)
        alone = sum(shared.shares.values())
        with edgert.load(path, ram=shared, shapes={"N": 1}) as second:
            assert sum(shared.shares.values()) <= shared.nbytes and first._share is not None
            assert least <= first._share.nbytes < alone
            for session in (first, second, first):
                assert np.array_equal(answer(session), expected) and streams(session)
                assert session._latest is not None and session._store is not None and session._share is not None
                assert session._latest.memory.total + session._store.division.held <= session._share.nbytes
            with pytest.raises(MemoryBudgetError, match=r"found test .*; test .*; close one, or share at least"):
                edgert.load(path, ram=shared, shapes={"N": 1})
            assert np.array_equal(answer(first), expected) and np.array_equal(answer(second), expected)
        with edgert.load(path, ram=shared, shapes={"N": 1}) as third:
            assert np.array_equal(answer(third), expected)
    assert shared.shares == {}


def test_what_one_gives_back_is_for_others(path: Path, least: int, expected: Array) -> None:
    shared = edgert.SharedRam(2 * least + (4 << 20))
    with edgert.load(path, ram=shared, shapes={"N": 1}) as first:
        kept = first.trim()
        assert least <= kept == shared.shares["test"] < least + (100 << 10)
        assert first.trim("1G") == kept, "a shared budget is not taken back"
        with edgert.load(path, ram=shared, shapes={"N": 1}) as second:
            assert np.array_equal(answer(second), expected) and not streams(second)
            assert np.array_equal(answer(first), expected) and streams(first)


def test_a_session_that_can_not_be_opened_leaves_no_share(path: Path, least: int, tmp_path: Path) -> None:
    shared = edgert.SharedRam("1G")
    (tmp_path / "short.edge").write_bytes(path.read_bytes())
    model = read_model(tmp_path / "short.edge")
    (tmp_path / "short.edge").unlink()
    with pytest.raises(StorageError, match="cannot be opened") as caught:
        Session(model, ram=shared, shapes={"N": 1}, stream="always")
    assert shared.shares == {}, caught


def test_a_shared_budget_needs_to_know_all_sizes(path: Path) -> None:
    with pytest.raises(InputError, match=r"shapes=\{'N': 1\}"):
        edgert.load(path, ram=edgert.SharedRam("1G"))


# ---- faults


@contextmanager
def alarms(seconds: float) -> Iterator[None]:
    """What Ctrl-C raises, once, after `seconds`."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_anywhere_leaves_a_session_that_answers(path: Path, least: int, expected: Array, threads: int) -> None:
    gc.collect()  # what earlier tests forgot
    before = threading.active_count()
    interrupted = 0
    with edgert.load(path, ram=least + (64 << 10) * threads, shapes={"N": 1}, threads=threads) as session:
        assert streams(session)
        for turn in range(25):
            try:
                with alarms(1e-4 + 4e-4 * turn):
                    for _ in range(10):
                        answer(session)
            except KeyboardInterrupt:
                interrupted += 1
            assert np.array_equal(answer(session), expected)
    assert interrupted >= 5
    assert threading.active_count() == before


def test_damage_is_found_and_checks_may_be_left_out(path: Path, least: int, expected: Array, tmp_path: Path) -> None:
    damaged = tmp_path / "d.edge"
    content = bytearray(path.read_bytes())
    with edgert.load(path) as session:
        place = session.model.tensors["w4"].parts.place("data")  # type: ignore[attr-defined]
    assert isinstance(place, FilePart)
    content[place.offset + 1001] ^= 64
    damaged.write_bytes(content)
    for _ in range(2):
        with edgert.load(damaged, ram=least) as session, pytest.raises(FormatError, match="'w4'"):
            answer(session)
    with edgert.load(damaged, ram=least, checks="never") as session:
        assert not np.array_equal(answer(session), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_streams_by_itself(path: Path, least: int, expected: Array) -> None:
    with edgert.load(path, ram=least, shapes={"N": 1}) as session:
        answer(session)
        child = os.fork()
        if not child:
            os._exit(0 if np.array_equal(answer(session), expected) else 1)
        assert np.array_equal(answer(session), expected)
        assert os.waitpid(child, 0)[1] == 0


def test_values_that_decide_shapes_share_no_budget(tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(PLACES), tmp_path / "v.onnx")
    convert(tmp_path / "v.onnx", tmp_path / "v.edge")
    for options in ({"ram": edgert.SharedRam("1M")}, {"stream": "always"}):
        with pytest.raises(UnsupportedError, match="depend on values"):
            edgert.load(tmp_path / "v.edge", **options)  # type: ignore[arg-type]
