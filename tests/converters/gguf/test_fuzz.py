"""Damaged GGUF files of every kind: a typed error or a checkpoint that loads, in bounded memory, nothing else."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgert.converters.gguf.checkpoint import GgufCheckpoint
from edgert.errors import FormatError, UnsupportedError

EVIL = [
    0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 31, 32, 33, 255, 256, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
    2**32 + 1, 2**40, 2**59, 2**60, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1, 2**64 - 32,
]  # fmt: skip
"""Counts, lengths, dimensions, types and offsets that wrap, vanish or lie at a limit."""

MEMORY = 4 << 20
"""Beside what a file of a kilobyte may need; a byte count that is believed would exceed it at once."""


def outcome(path: Path, limit: int) -> str:
    """Opens `path` and loads every tensor. Any other error than the typed ones escapes and fails the test."""
    tracemalloc.start()
    try:
        checkpoint = GgufCheckpoint(path)
        for name in checkpoint.names:
            try:
                checkpoint.load(name)
                checkpoint.exact(name)
            except FormatError:  # NaN in one tensor; look at the others as well
                continue
        return "opened"
    except (FormatError, UnsupportedError) as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 2000
        return "refused"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit


@st.composite
def damages(draw: st.DrawFn, size: int, boundaries: list[int]) -> Callable[[bytes], bytes]:
    """A few changes at places where fields begin, or anywhere."""
    place = st.one_of(st.sampled_from(boundaries), st.integers(0, size - 1))
    number = st.one_of(st.sampled_from(EVIL), st.integers(0, 2**64 - 1))
    change = st.one_of(
        st.tuples(st.just("set"), place, number, st.sampled_from([1, 2, 4, 8])),
        st.tuples(st.just("cut"), place, st.integers(1, 64), st.just(0)),
        st.tuples(st.just("repeat"), place, st.integers(1, 64), st.just(0)),
        st.tuples(st.just("end"), place, st.just(0), st.just(0)),
    )
    changes = draw(st.lists(change, min_size=1, max_size=4))

    def apply(data: bytes) -> bytes:
        for kind, at, value, width in changes:
            if kind == "set":
                data = data[:at] + (value % 256**width).to_bytes(width, "little") + data[at + width :]
            elif kind == "cut":
                data = data[:at] + data[at + value :]
            elif kind == "repeat":
                data = data[: at + value] + data[at:]
            else:
                data = data[:at]
        return data

    return apply


def test_every_field_with_every_evil_number(small: Callable[..., Any], tmp_path: Path) -> None:
    """Each field of the header in turn, as 4 and as 8 bytes."""
    file, path = small(), tmp_path / "damaged.gguf"
    data = bytes(file)
    outcomes = []
    for at in file.boundaries[:-1]:
        for value in EVIL[::3] + EVIL[-2:]:
            width = 8 if value >= 2**32 else 4
            path.write_bytes(data[:at] + value.to_bytes(width, "little") + data[at + width :])
            outcomes.append(outcome(path, MEMORY))
    assert outcomes.count("refused") > len(outcomes) // 2


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage(data: st.DataObject, small: Callable[..., Any], tmp_path: Path) -> None:
    file, path = small(), tmp_path / "damaged.gguf"
    content = bytes(file)
    damage = data.draw(damages(len(content), file.boundaries))
    path.write_bytes(damage(content))
    outcome(path, MEMORY)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400))
def test_noise_behind_a_good_start(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "noise.gguf"
    path.write_bytes(b"GGUF\3\0\0\0" + content)
    outcome(path, MEMORY)


@pytest.mark.model
def test_damaged_header_of_a_real_model(asset: Callable[[str], Path], tmp_path: Path) -> None:
    """SmolLM2's header of 1.8 MB with one evil number in its front, in all of it, and in the tensor table.

    The data is a hole in the file.
    """
    real = asset("smollm2-135m")
    header = real.read_bytes()[: GgufCheckpoint(real)._tensor("token_embd.weight").offset]
    path, rng = tmp_path / "damaged.gguf", np.random.default_rng(0)
    table = len(header) - 17_000
    for step in range(12):
        low = 0 if step % 3 == 0 else 1000 if step % 3 == 1 else table
        at = int(rng.integers(low, 1000 if low == 0 else len(header) - 8))
        value = EVIL[int(rng.integers(len(EVIL)))]
        width = 8 if value >= 2**32 else 4
        with path.open("wb") as out:
            out.write(header[:at] + value.to_bytes(width, "little") + header[at + width :])
            out.truncate(real.stat().st_size)
        try:
            GgufCheckpoint(path)
        except (FormatError, UnsupportedError) as error:
            assert len(str(error)) < 2000
