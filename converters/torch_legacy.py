"""Reads the tensors of a PyTorch checkpoint in the format before version 1.6, without PyTorch.

The file is five pickles (magic, version, system, state, storage keys) and then the raw storages. Pickles can
run code; these are scanned first, and only what a dictionary of tensors needs is let through.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgert.errors import FormatError
from edgert.graph.ir import Array

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001

MAX_FILE_BYTES = 2 << 30
"""The format is read by hand for small, old networks; larger ones come in newer formats."""

MAX_PICKLE_BYTES = 16 << 20
"""A state of ten thousand tensors takes about 1 MB."""

MAX_MEMO = 1_000_000
"""The unpickler allocates its memo by the largest number that occurs, before anything is stored there."""

MAX_RANK = 8

STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
}

# fmt: off
OPCODES = frozenset((
    "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
    "BINFLOAT", "BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND",
    "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET",
    "GLOBAL", "REDUCE", "BUILD", "BINPERSID",
))
# fmt: on
"""What the writer of that time used for a state of tensors. GLOBAL and BINPERSID go through _Unpickler."""


@dataclass
class _Storage:
    dtype: np.dtype[Any]
    count: int
    data: Array | None = None


@dataclass
class _Tensor:
    """A view of a storage that is read later."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state(path: str | Path) -> dict[str, Array]:
    """Name -> array for every tensor of the checkpoint `path`, in its order.

    Raises FormatError when the file is not such a checkpoint, or holds anything but named tensors.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise FormatError(path, None, f"at most {MAX_FILE_BYTES} bytes", f"{size}")
    with path.open("rb") as file:
        storages: dict[str, _Storage] = {}
        for what, expected in (("the magic number", MAGIC), ("format version", VERSION)):
            if (found := _unpickle(file, path, storages)) != expected:
                raise FormatError(path, 0, f"{what} {expected:#x} of a legacy checkpoint", repr(found)[:80])
        system = _unpickle(file, path, storages)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise FormatError(path, None, "a checkpoint written on a little-endian machine", repr(system)[:80])
        state = _unpickle(file, path, storages)
        keys = _unpickle(file, path, storages)
        if not isinstance(state, dict):
            raise FormatError(path, None, "a dictionary of tensors", type(state).__name__)
        if not isinstance(keys, list) or sorted(map(repr, keys)) != sorted(map(repr, storages)):
            raise FormatError(path, None, "one key for each storage", f"{len(storages)} storages, {keys!r:.80}")
        for key in keys:
            _read_storage(file, storages[key], path, size)
        if file.tell() != size:
            raise FormatError(path, file.tell(), "the end of the file", f"{size - file.tell()} more bytes")
    return {_name(name, path): _array(name, tensor, path) for name, tensor in state.items()}


class _Unpickler(pickle.Unpickler):
    """Knows dictionaries and tensors; refuses every other name."""

    def __init__(self, data: bytes, path: Path, storages: dict[str, _Storage]) -> None:
        super().__init__(io.BytesIO(data))
        self.path, self.storages = path, storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        if module == "torch" and name in STORAGES:
            return name
        raise FormatError(self.path, None, "nothing but tensors", f"{module}.{name}", "it will not be loaded")

    def persistent_load(self, pid: Any) -> _Storage:
        """('storage', type, key, device, count, view): the type is the name that find_class gave."""
        if not isinstance(pid, tuple) or len(pid) != 6 or pid[0] != "storage" or pid[5] is not None:
            raise FormatError(self.path, None, "a storage of 6 fields", repr(pid)[:80])
        kind, key, count = pid[1], pid[2], pid[4]
        if kind not in STORAGES or not isinstance(key, str) or not _is_size(count):
            raise FormatError(self.path, None, "a storage of known type", repr(pid)[:80])
        known = self.storages.setdefault(key, _Storage(STORAGES[kind], count))
        if (known.dtype, known.count) != (STORAGES[kind], count):
            raise FormatError(self.path, None, f"one size and type for storage {key}", repr(pid)[:80])
        return known

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
        """Every element must lie inside the storage; the shape is bounded by it as well."""
        sizes_good = isinstance(shape, tuple) and len(shape) <= MAX_RANK and all(map(_is_size, shape))
        strides_good = isinstance(strides, tuple) and all(map(_is_size, strides))
        if not isinstance(storage, _Storage) or not _is_size(offset) or not (sizes_good and strides_good):
            raise FormatError(self.path, None, "a tensor of a storage", f"{shape!r:.60}, strides {strides!r:.60}")
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=False))
        count = math.prod(shape)
        if len(shape) != len(strides) or count > storage.count or (count and last >= storage.count):
            found = f"{shape} with strides {strides} from {offset}"
            raise FormatError(self.path, None, f"a tensor within {storage.count} elements", found)
        return _Tensor(storage, offset, shape, strides)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_FILE_BYTES


def _unpickle(file: IO[bytes], path: Path, storages: dict[str, _Storage]) -> Any:
    """The next pickle of `file`, which is then behind it."""
    start = file.tell()
    head = file.read(MAX_PICKLE_BYTES)
    end = 0
    try:
        for opcode, argument, position in pickletools.genops(head):
            if opcode.name not in OPCODES:
                raise FormatError(path, start + (position or 0), "a pickle of tensors", opcode.name)
            if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > MAX_MEMO:
                raise FormatError(path, start + (position or 0), f"at most {MAX_MEMO} objects", f"{argument}")
            end = (position or 0) + 1
        value = _Unpickler(head[:end], path, storages).load()
    except FormatError:
        raise
    except Exception as error:  # unpickling runs into every kind of error on damaged data
        raise FormatError(path, start + end, "a legacy PyTorch checkpoint", str(error) or repr(error)) from None
    file.seek(start + end)
    return value


def _read_storage(file: IO[bytes], storage: _Storage, path: Path, size: int) -> None:
    """int64 count, then the elements."""
    start = file.tell()
    count = int.from_bytes(file.read(8), "little", signed=True)
    if count != storage.count or file.tell() + count * storage.dtype.itemsize > size:
        expected = f"{storage.count} elements of {storage.dtype} inside the file"
        raise FormatError(path, start, expected, f"{count} in {size - start} bytes")
    storage.data = np.frombuffer(file.read(count * storage.dtype.itemsize), storage.dtype)


def _name(name: Any, path: Path) -> str:
    if not isinstance(name, str):
        raise FormatError(path, None, "names of tensors", repr(name)[:80])
    return name


def _array(name: str, tensor: Any, path: Path) -> Array:
    if not isinstance(tensor, _Tensor) or tensor.storage.data is None:
        raise FormatError(path, None, f"a tensor as {name}", type(tensor).__name__)
    data = tensor.storage.data
    strides = [s * data.itemsize for s in tensor.strides]
    view: Array = np.lib.stride_tricks.as_strided(data[tensor.offset :], tensor.shape, strides, writeable=False)
    return view.copy()
