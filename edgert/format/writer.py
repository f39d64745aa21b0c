"""Writes a `.edge` file, whole or not at all: temporary name, fsync, rename (rules F36 and F37).

A model is judged by the reader's own rules before a byte is written. The same model makes the same bytes.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from edgert.errors import FormatError
from edgert.format import encodings
from edgert.format.graph_fields import initial_name
from edgert.format.header import Header, header_from, header_to
from edgert.format.limits import aligned
from edgert.format.model import Model, StoredTensor
from edgert.format.prelude import Prelude
from edgert.format.reader import check_tensor, located
from edgert.format.store import store
from edgert.format.tensor_fields import PartEntry, TensorEntry


def write_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Writes `model` to `path`, replacing a file that is there, with nothing in between to be seen.

    Constants of the graph that are not in model.tensors are stored dense, in row layout. Raises
    FormatError if the model breaks a rule of the format, EdgertError if it can not be stored; either
    way, and when interrupted, no partial file stays and an old file at `path` is untouched.
    """
    target = Path(path)
    entries: list[TensorEntry] = []
    parts: list[memoryview] = []
    end = 0
    for tensor in _tensors_in_order(model):
        _check_type(model, tensor, target)
        entry, contents, end = _place(tensor, end, target)
        entries.append(entry)
        parts += contents
    header = Header(model.producer, model.source, model.info, model.graph, entries, model.report)
    text = header_to(header, target)
    header_from(text, aligned(end), target)
    prelude = Prelude(len(text), aligned(end), zlib.crc32(text))
    store(target, "the model", prelude.file_length, _stream(prelude, text, parts))


def _tensors_in_order(model: Model) -> Iterable[StoredTensor]:
    """Stored tensors by first use, so that reading a file runs forward; then the unused, by name."""
    tensors = dict(model.tensors)
    graphs = (model.graph, *model.graph.bodies())
    arrays = [(name, array, graph.types.get(name)) for graph in graphs for name, array in graph.constants.items()]
    arrays += [(initial_name(past), array, model.graph.types.get(past)) for past, array in model.graph.initial.items()]
    for name, array, kind in arrays:
        if name not in tensors:
            with located(None, None, name):
                tensors[name] = StoredTensor.pack_dense(name, array, quant=kind.quant if kind else None)
    used = (name for graph in graphs for node in graph.nodes for name in node.inputs if name in tensors)
    return [tensors[name] for name in dict.fromkeys([*used, *sorted(tensors)])]


def _check_type(model: Model, tensor: StoredTensor, file: Path) -> None:
    kind = model.graph.types.get(tensor.name)
    if kind is not None and (kind.dtype, kind.shape) != (tensor.dtype, tuple(tensor.shape)):
        raise FormatError(
            file, None, f"tensor {tensor.name!r} stored as the graph's {kind.dtype} {list(kind.shape)}",
            f"{tensor.dtype} {list(tensor.shape)}",
        )  # fmt: skip


def _place(tensor: StoredTensor, end: int, file: Path) -> tuple[TensorEntry, list[memoryview], int]:
    """The entry of `tensor` after byte `end` of the data section, its bytes, and where they end."""
    quant = tensor.quant
    inline = quant if tensor.encoding == "dense" and quant is not None and quant.axis is None else None
    axis = quant.axis if tensor.encoding == "dense" and quant is not None else None
    with located(file, None, tensor.name):
        specs = encodings.stored_specs(tensor.encoding, tensor.dtype, tensor.shape, tensor.layout, axis, tensor.parts)
        places: list[PartEntry] = []
        contents: list[memoryview] = []
        for spec in specs:
            array = tensor.parts[spec.role]
            encodings.check_part(tensor.encoding, tensor.dtype, tensor.shape, tensor.layout, spec.role, array)
            little = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
            contents.append(little.reshape(-1).view(np.uint8).data)
            places.append(PartEntry(spec, aligned(end), zlib.crc32(contents[-1])))
            end = aligned(end) + spec.nbytes
    check_tensor(tensor, file)
    entry = TensorEntry(
        tensor.name, tensor.dtype, tuple(tensor.shape), tensor.encoding, tensor.layout, inline, axis,
        tuple(places),
    )  # fmt: skip
    return entry, contents, end


def _stream(prelude: Prelude, text: bytes, parts: list[memoryview]) -> Iterable[bytes | memoryview]:
    """The file piece by piece; each piece but the prelude is padded with zeros to the alignment."""
    yield prelude.pack()
    for piece in (memoryview(text), *parts):
        yield piece
        yield bytes(aligned(len(piece)) - len(piece))
