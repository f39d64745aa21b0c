"""What every source of a language model gives: its configuration, its tensors, and the files beside it.
The readers are in `gguf/` and `safetensors/`; what the names mean is judged by the architectures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from edgert.graph.ir import Array

ExactEncoding = Literal["q4", "q4m", "q8", "q8g", "f16"]


@dataclass(frozen=True)
class ExactBlocks:
    """A tensor in the very numbers of an edgert encoding, so that storing it loses nothing.

    values, scale, minimum by encoding:
    * 'q4': uint8 [N, K] 0..15, float16 [N, K/32], None; weight = scale * (value - 8)
    * 'q4m': uint8 [N, K] 0..15, float16 [N, K/32], float16 [N, K/32]; weight = scale * value + minimum
    * 'q8': int8 [N, K], at least -127, float32 [N], None; weight = scale * value
    * 'q8g': int8 [N, K], float16 [N, K/32], None; weight = scale * value
    * 'f16': float16 [...], None, None
    K is a multiple of 32 for q4, q4m and q8g.
    """

    encoding: ExactEncoding
    values: Array
    scale: Array | None = None
    minimum: Array | None = None


class Checkpoint(Protocol):
    """A checkpoint on disk. Tensors are mapped and turned into arrays when they are asked for.

    A name that is not there is a FormatError that names it, wherever a tensor name is taken.
    """

    @property
    def path(self) -> Path:
        """The file or folder it was opened from."""

    @property
    def format(self) -> Literal["gguf", "safetensors"]:
        """Which family of names and metadata keys to expect."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """'gguf': the key-value pairs as int, float, bool, str and lists of these (flat keys such as
        'llama.block_count'). 'safetensors': the object in config.json, {} for a single file without one."""

    @property
    def names(self) -> Sequence[str]:
        """The names of all tensors, in file order."""

    def __contains__(self, name: object) -> bool:
        """Whether there is a tensor called `name`."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape in NumPy order: a linear layer is [outputs, inputs], an embedding [vocabulary, width]."""

    def load(self, name: str) -> Array:
        """The tensor as a float32 array of its own, dequantized if need be.

        Raises FormatError if a value is NaN or infinite, UnsupportedError for a type edgert can not read.
        """

    def exact(self, name: str) -> ExactBlocks | None:
        """The tensor without loss in an edgert encoding, or None if there is no such encoding for its type.

        'q4', 'q4m' and 'q8g' only for matrices. Raises as `load` does.
        """

    def describe(self, name: str) -> str:
        """The type it is stored in, for the report: 'Q4_1', 'F16', 'BF16' ..."""

    def text(self, name: str) -> str | None:
        """The text file `name` that lies beside the tensors ('tokenizer.json', '1_Pooling/config.json'),
        None if there is none; a GGUF file has none."""


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint at `path`: a .gguf file, a .safetensors file, or a folder with config.json.

    Raises FormatError when it is none of these or damaged, UnsupportedError for a kind that is not read.
    """
    from edgert.converters.gguf.checkpoint import GgufCheckpoint, is_gguf
    from edgert.converters.safetensors.checkpoint import SafetensorsCheckpoint

    path = Path(path)
    return GgufCheckpoint(path) if is_gguf(path) else SafetensorsCheckpoint(path)
