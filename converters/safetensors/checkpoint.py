"""A Hugging Face model as a `Checkpoint`: a folder of config.json and safetensors, or one such file.
The container is `reader.py`."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from edgert.converters.llm.checkpoint import ExactBlocks
from edgert.converters.safetensors.reader import SafeTensor, load, parse_object, read_safetensors
from edgert.errors import FormatError
from edgert.graph.ir import Array

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"

MAX_TEXT_BYTES = 64 << 20
"""Of a file beside the weights: the largest tokenizer.json take 35 MB."""

MAX_SHARDS = 1000
"""Files of one model; the largest have about 200."""


class SafetensorsCheckpoint:
    """See `Checkpoint`. Opening it reads the configuration and checks the headers of all files.

    Symbolic links are followed, as the download cache of Hugging Face consists of them, but every name is
    that of a file in the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path if path.is_dir() else path.parent
        if self._folder != path:
            self._tensors = read_safetensors(path)
        config = self._object(CONFIG)
        if self._folder == path:
            if config is None:
                raise FormatError(path, None, f"a folder with {CONFIG} and {WEIGHTS}", f"no {CONFIG}")
            self._tensors = self._shards()
        self._config = config or {}

    @property
    def path(self) -> Path:
        return self._path

    @property
    def format(self) -> Literal["safetensors"]:
        return "safetensors"

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self._config

    @property
    def names(self) -> Sequence[str]:
        return tuple(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensor(name).shape

    def load(self, name: str) -> Array:
        return load(self._tensor(name))

    def exact(self, name: str) -> ExactBlocks | None:
        tensor = self._tensor(name)
        return ExactBlocks("f16", load(tensor).astype(np.float16)) if tensor.dtype == "F16" else None

    def describe(self, name: str) -> str:
        return self._tensor(name).dtype

    def text(self, name: str) -> str | None:
        return read_beside(self._folder, name, self._path)

    def _tensor(self, name: str) -> SafeTensor:
        if name not in self._tensors:
            raise FormatError(self._path, None, f"a tensor {name!r}", f"{len(self._tensors)} others")
        return self._tensors[name]

    def _object(self, name: str) -> dict[str, Any] | None:
        text = self.text(name)
        return None if text is None else parse_object(text.encode(), self._folder / name)

    def _shards(self) -> dict[str, SafeTensor]:
        """The tensors of the folder: of its one file, or of all files that its index names."""
        index = None if (self._folder / WEIGHTS).exists() else self._object(INDEX)
        if index is None:
            if not (self._folder / WEIGHTS).exists():
                hint = "a model saved as .bin or .pth must be saved again with safetensors"
                raise FormatError(self._path, None, f"{WEIGHTS} or {INDEX} in the folder", "neither", hint)
            return read_safetensors(self._folder / WEIGHTS)
        where = index.get("weight_map")
        place = self._folder / INDEX
        if not isinstance(where, dict) or not all(isinstance(file, str) for file in where.values()):
            raise FormatError(place, None, "a weight_map of tensor names and files", f"{where!r:.80}")
        files = list(dict.fromkeys(where.values()))
        if len(files) > MAX_SHARDS:
            raise FormatError(place, None, f"at most {MAX_SHARDS} files", str(len(files)))
        tensors: dict[str, SafeTensor] = {}
        for file in files:
            if not file.endswith(".safetensors") or any(mark in file for mark in "/\\:\0"):
                raise FormatError(place, None, "names of .safetensors files in the folder", f"{file[:200]!r}")
            for name, tensor in read_safetensors(self._folder / file).items():
                if tensors.setdefault(name, tensor) is not tensor:
                    raise FormatError(self._folder / file, None, "each tensor in one file", f"{name!r} in two")
        for name, file in where.items():
            if name not in tensors or tensors[name].file.name != file:
                raise FormatError(self._folder / file, None, f"tensor {name[:80]!r}, as {INDEX} says", "no such tensor")
        return tensors


def read_beside(folder: Path, name: str, path: Path) -> str | None:
    """The text file `name` in `folder` or below, None if there is none. path: what is read, for messages.

    Raises FormatError for a name that leads elsewhere, and for a file that is too large or no text.
    """
    place = PurePosixPath(name)
    if not place.parts or place.is_absolute() or ".." in place.parts or "\\" in name or "\0" in name:
        raise FormatError(path, None, "the name of a file in the folder", repr(name[:200]))
    file = folder / place
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_TEXT_BYTES:
            raise FormatError(file, None, f"a file of at most {MAX_TEXT_BYTES} bytes", f"{status.st_size}")
        return file.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise FormatError(file, error.start, "text in UTF-8", error.reason) from None
    except OSError as error:
        raise FormatError(file, None, "a file that can be read", error.strerror or str(error)) from None
