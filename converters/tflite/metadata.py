"""What a TFLite file says about itself: labels, normalisation of images, names and descriptions, author, licence.
The blob TFLITE_METADATA is a flatbuffer of its own; label lists are files zipped behind the model.

Source: tflite_support's metadata_schema.fbs, version 1.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgert.converters.tflite.flat import Flat, Table
from edgert.converters.tflite.model import TfliteModel
from edgert.errors import FormatError

KEY = "TFLITE_METADATA"
IDENTIFIER = b"M001"

MAX_TENSORS = 1 << 12
MAX_FILES = 64
MAX_UNITS = 64
MAX_LABELS = 1 << 18
"""As in .edge files."""

MAX_LABEL_BYTES = 4 << 20
"""Of one list: 16 for each label. A zipped list may say the same word a million times in a few hundred bytes."""

CONTENTS = ("", "feature", "image", "boxes", "audio")
"""The union ContentProperties."""

COLORS = ("", "RGB", "GRAYSCALE")

FILE_KINDS = ("", "descriptions", "axis labels", "labels", "score calibration", "vocabulary", "index")
"""The enumeration AssociatedFileType."""

_NORMALIZATION = 1
"""In the union ProcessUnitOptions."""


@dataclass
class TensorMetadata:
    """One input or output, in the order of the model's. content: 'feature', 'image', 'boxes', 'audio' or ''.

    mean and std: x = (value - mean) / std, one number or one per channel, empty when not given; for models that take
    floats. size: (height, width) of images, (0, 0) when not given. minimum, maximum: of the values that go in.
    """

    name: str = ""
    description: str = ""
    content: str = ""
    color: str = ""
    size: tuple[int, int] = (0, 0)
    sample_rate: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    minimum: tuple[float, ...] = ()
    maximum: tuple[float, ...] = ()
    labels: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)


@dataclass
class ModelMetadata:
    """The whole description; everything empty for a file without one. files: name -> kind, of FILE_KINDS."""

    name: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    licence: str = ""
    inputs: list[TensorMetadata] = field(default_factory=list)
    outputs: list[TensorMetadata] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """Those of the first output that has some."""
        return next((tensor.labels for tensor in self.outputs if tensor.labels), [])


def read_metadata(model: TfliteModel) -> ModelMetadata:
    """What the file says about itself. Raises FormatError when the metadata is damaged."""
    blob = model.metadata.get(KEY)
    if blob is None:
        return ModelMetadata()
    flat = Flat(model.path, np.frombuffer(blob, np.uint8))
    root = flat.root(IDENTIFIER)
    found = ModelMetadata(
        name=root.text(0, "the name"),
        description=root.text(1, "the description"),
        version=root.text(2, "the version"),
        author=root.text(4, "the author"),
        licence=root.text(5, "the licence"),
        files=_files(root, 6),
    )
    labels = _Labels(model)
    for graph in root.tables(3, "sub-graph metadata", MAX_TENSORS):  # the first is the model
        found.inputs = [_tensor(tensor, labels) for tensor in graph.tables(2, "input metadata", MAX_TENSORS)]
        found.outputs = [_tensor(tensor, labels) for tensor in graph.tables(3, "output metadata", MAX_TENSORS)]
        found.files |= _files(graph, 4)
        break
    return found


def _tensor(table: Table, labels: _Labels) -> TensorMetadata:
    found = TensorMetadata(table.text(0, "a name"), table.text(1, "a description"), files=_files(table, 6))
    if (content := table.table(3, "content")) is not None:
        kind = content.integer(0, "ubyte")
        found.content = CONTENTS[kind] if kind < len(CONTENTS) else ""
        properties = content.table(1, "content properties")
        if properties is not None and found.content == "image":
            color = properties.integer(0, "byte")
            found.color = COLORS[color] if 0 <= color < len(COLORS) else ""
            if (size := properties.table(1, "an image size")) is not None:
                found.size = size.integer(1, "uint"), size.integer(0, "uint")
        elif properties is not None and found.content == "audio":
            found.sample_rate = properties.integer(0, "uint")
    for unit in table.tables(4, "process units", MAX_UNITS):
        if unit.integer(0, "ubyte") == _NORMALIZATION and (options := unit.table(1, "normalization")) is not None:
            found.mean, found.std = options.floats(0, "a mean"), options.floats(1, "a standard deviation")
    if (stats := table.table(5, "statistics")) is not None:
        found.maximum, found.minimum = stats.floats(0, "a maximum"), stats.floats(1, "a minimum")
    found.labels = labels.first(found.files)
    return found


class _Labels:
    """The label lists behind a model, each read once however many tensors name it."""

    def __init__(self, model: TfliteModel) -> None:
        self._model = model
        self._lists: dict[str, list[str]] = {}

    def first(self, files: dict[str, str]) -> list[str]:
        """The lines of the first of `files` that is such a list; [] when none is."""
        chosen = (name for name, kind in files.items() if kind in ("labels", "axis labels"))
        name = next((name for name in chosen if name in self._model.files), None)
        if name is None:
            return []
        if name not in self._lists:
            raw = self._model.files[name]
            if len(raw) > MAX_LABEL_BYTES:
                expected = f"at most {MAX_LABEL_BYTES} bytes of labels in {name!r}"
                raise FormatError(self._model.path, None, expected, f"{len(raw)}")
            lines = (line.strip() for line in raw.decode("utf-8", "replace").splitlines())
            self._lists[name] = [line for line in lines if line][:MAX_LABELS]
        return self._lists[name]


def _files(table: Table, slot: int) -> dict[str, str]:
    """Name -> kind of the associated files in field `slot`."""
    found = {}
    for entry in table.tables(slot, "associated files", MAX_FILES):
        kind = entry.integer(2, "byte")
        name = entry.text(0, "the name of a file")
        found[name] = FILE_KINDS[kind] if 0 <= kind < len(FILE_KINDS) else ""
    return found
