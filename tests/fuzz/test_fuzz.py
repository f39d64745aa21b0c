"""Mutated model files end in an answer or in a typed error; `run.py` beside this tries thousands."""

from __future__ import annotations

from pathlib import Path

import pytest
from attempt import attempt, attempts
from mutate import mutated
from sources import sources

FOUND: dict[str, tuple[int, ...]] = {
    "onnx": (187, 2030, 4230, 8635),
    "tflite": (863, 1900, 9522),
}
"""Seeds that once broke something."""


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_sources_are_sound(kind: str, tmp_path: Path) -> None:
    from edgert.converters.convert import convert

    for name, content in sources(kind).items():
        path = tmp_path / f"{name}.{kind}"
        path.write_bytes(content)
        assert convert(path, tmp_path / f"{name}.edge").model.graph.nodes


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_a_seed_makes_the_same_mutation_again(kind: str) -> None:
    content = next(iter(sources(kind).values()))
    assert all(mutated(content, kind, seed) == mutated(content, kind, seed) for seed in range(20))
    assert len({mutated(content, kind, seed) for seed in range(50)}) > 40


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_mutations_end_in_an_answer_or_a_typed_error(kind: str) -> None:
    counts, failures = attempts(kind, range(150))
    assert not failures, next(iter(failures.values()))
    assert counts["refused"] and counts["ran"], counts


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind, seeds in FOUND.items() for seed in seeds])
def test_what_once_broke_does_not_again(kind: str, seed: int, tmp_path: Path) -> None:
    attempt(kind, seed, tmp_path)
