"""Configurations of hostile values: an answer or one typed error, at once and in little memory, never another one."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CASES
from tiny_gguf import gguf_metadata, gguf_tensors

from edgert.converters.llm.importer import architecture_of, build
from edgert.errors import EdgertError, FormatError

VALUES: list[Any] = [
    None, True, -1, 0, 1, 3, 2**31, 2**63, 2**64 - 1, -0.0, 0.5, 1e-300, 1e308, float("nan"), float("inf"), "", "x",
    "linear", "yarn", "longrope", [], [1], [2, None], [float("nan")] * 4, {}, {"rope_type": "yarn"}, {"factor": 1e308},
]  # fmt: skip
ROUNDS = 150


@dataclass
class Memory:
    """A checkpoint whose tensors are arrays."""

    format: Any
    metadata: Mapping[str, Any]
    tensors: dict[str, np.ndarray]
    path: Path = Path("model")

    @property
    def names(self) -> list[str]:
        return list(self.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return self.load(name).shape

    def load(self, name: str) -> np.ndarray:
        if name not in self.tensors:
            raise FormatError(self.path, None, f"a tensor {name!r}", "none")
        return self.tensors[name]

    def exact(self, name: str) -> None:
        return None

    def describe(self, name: str) -> str:
        return "F32"

    def text(self, name: str) -> str | None:
        return None


def attack(random_: random.Random, metadata: dict[str, Any]) -> dict[str, Any]:
    """A copy with one to three values replaced, some of them inside of objects."""
    made = dict(metadata)
    for _ in range(random_.randint(1, 3)):
        key = random_.choice(list(made))
        if isinstance(made[key], dict) and made[key] and random_.random() < 0.8:
            inner = attack(random_, made[key])
            made[key] = inner
        else:
            made[key] = random_.choice(VALUES)
    return made


@pytest.mark.parametrize("case", sorted(CASES))
def test_folders(case: str, tiny: Callable[[str], Any]) -> None:
    model, random_ = tiny(case), random.Random(case)
    for _ in range(ROUNDS):
        memory = Memory("safetensors", attack(random_, model.config), model.weights)
        with suppress(EdgertError):
            build(architecture_of(memory), memory)


@pytest.mark.parametrize("arch", ["llama", "qwen3", "gemma2", "gemma3", "phi3", "gpt2", "bert"])
def test_gguf(arch: str, tiny: Callable[[str], Any]) -> None:
    model, random_ = tiny(arch), random.Random(arch)
    tensors = gguf_tensors(model, arch)
    metadata = gguf_metadata(model, arch) | {f"{arch}.rope.scaling.type": "yarn", f"{arch}.rope.scaling.factor": 2.0}
    for _ in range(ROUNDS):
        memory = Memory("gguf", attack(random_, metadata), tensors)
        with suppress(EdgertError):
            build(architecture_of(memory), memory)
