"""A GGUF model as a `Checkpoint`: names, shapes, float32 or exact blocks of each tensor.
The container is `reader.py`, the number formats are `blocks.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from edgert.converters.gguf.blocks import SUPPORTED, dequantize, exact
from edgert.converters.gguf.reader import GgufTensor, is_gguf, read_gguf
from edgert.converters.llm.checkpoint import ExactBlocks
from edgert.errors import FormatError, UnsupportedError
from edgert.graph.ir import Array

__all__ = ["GgufCheckpoint", "is_gguf"]


class GgufCheckpoint:
    """See `Checkpoint`. Opening it checks the whole structure and that the type of every tensor can be read."""

    def __init__(self, path: Path) -> None:
        self._file = read_gguf(path)
        foreign = [t for t in self._file.tensors.values() if t.type.name not in SUPPORTED]
        if foreign:
            kinds = ", ".join(sorted({tensor.type.name for tensor in foreign}))
            raise UnsupportedError(
                f"{path}: expected tensors stored as {', '.join(SUPPORTED)}, found {foreign[0].name!r} "
                f"and {len(foreign) - 1} others stored as {kinds}; take a file of another quantization"
            )

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def format(self) -> Literal["gguf"]:
        return "gguf"

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self._file.metadata

    @property
    def names(self) -> Sequence[str]:
        return tuple(self._file.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._file.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensor(name).shape

    def load(self, name: str) -> Array:
        return dequantize(self._tensor(name))

    def exact(self, name: str) -> ExactBlocks | None:
        return exact(self._tensor(name))

    def describe(self, name: str) -> str:
        return self._tensor(name).type.name

    def text(self, name: str) -> str | None:
        return None

    def _tensor(self, name: str) -> GgufTensor:
        if name not in self._file.tensors:
            expected = f"a tensor {name!r}"
            raise FormatError(self.path, None, expected, f"{len(self._file.tensors)} others", "is the file complete?")
        return self._file.tensors[name]
