"""Old PyTorch checkpoints: tensors come out right, and nothing but tensors comes out."""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edgert.converters.torch_legacy import MAGIC, VERSION, read_state
from edgert.errors import FormatError


class Global:
    """Stands for `module.name` and pickles as a reference to it."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Storage:
    def __init__(self, key: str, data: np.ndarray, kind: str = "FloatStorage") -> None:
        self.key, self.data, self.kind = key, data, kind


class Tensor:
    def __init__(self, storage: Storage, offset: Any, shape: Any, strides: Any) -> None:
        self.arguments = (storage, offset, shape, strides, False, OrderedDict())


class Writer(pickle._Pickler):  # the Python pickler, whose table of types can be extended
    """Writes what torch.save wrote, without torch."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_global_name(self, value: Global) -> None:
        self.write(f"c{value.module}\n{value.name}\n".encode())

    def save_tensor(self, value: Tensor) -> None:
        self.save(Global("torch._utils", "_rebuild_tensor_v2"))
        self.save(value.arguments)
        self.write(pickle.REDUCE)

    def save_storage(self, value: Storage) -> None:
        self.save(("storage", Global("torch", value.kind), value.key, "cpu", len(value.data), None))
        self.write(pickle.BINPERSID)

    dispatch[Global] = save_global_name
    dispatch[Tensor] = save_tensor
    dispatch[Storage] = save_storage


def dumps(value: Any) -> bytes:
    buffer = io.BytesIO()
    Writer(buffer, 2).dump(value)
    return buffer.getvalue()


def checkpoint(state: Any, *storages: Storage, magic: int = MAGIC, little: bool = True) -> bytes:
    parts = [dumps(magic), dumps(VERSION), dumps({"little_endian": little}), dumps(state)]
    parts.append(dumps([storage.key for storage in storages]))
    for storage in storages:
        parts.append(struct.pack("<q", len(storage.data)) + storage.data.tobytes())
    return b"".join(parts)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


def storage(n: int = 24) -> Storage:
    return Storage("1", np.arange(n, dtype=np.float32))


def good() -> bytes:
    s = storage()
    steps = Storage("2", np.array([7]), "LongStorage")
    state = OrderedDict(
        a=Tensor(s, 0, (2, 3), (3, 1)),
        b=Tensor(s, 4, (3, 2), (1, 3)),
        step=Tensor(steps, 0, (), ()),
        empty=Tensor(s, 24, (0, 5), (5, 1)),
    )
    return checkpoint(state, s, steps)


def test_tensors(path: Path) -> None:
    path.write_bytes(good())
    state = read_state(path)
    assert list(state) == ["a", "b", "step", "empty"]
    np.testing.assert_array_equal(state["a"], np.arange(6, dtype=np.float32).reshape(2, 3))
    np.testing.assert_array_equal(state["b"], np.arange(4, 10, dtype=np.float32).reshape(2, 3).T)
    assert state["step"] == 7
    assert state["step"].dtype == np.int64
    assert state["empty"].shape == (0, 5)


def test_truncated_at_every_byte(path: Path) -> None:
    data = good()
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(FormatError):
            read_state(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # escapes in damaged text
def test_flipped_bits(path: Path) -> None:
    data = good()
    for bit in range(0, 8 * len(data), 3):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            for array in read_state(path).values():
                assert array.nbytes <= len(data)
        except FormatError:
            pass


class Runs:
    def __reduce__(self) -> Any:
        return os.mkdir, ("it-ran",)


HOSTILE = {
    "code": lambda: checkpoint({"a": Global("os", "system")}),
    "numpy": lambda: checkpoint({"a": Global("numpy", "load")}),
    "other storage": lambda: checkpoint({"a": Tensor(Storage("1", np.zeros(1), "QStorage"), 0, (1,), (1,))}),
    "number": lambda: checkpoint({"a": 1}),
    "list": lambda: checkpoint([]),
    "nameless": lambda: checkpoint({1: Tensor(storage(), 0, (1,), (1,))}, storage()),
    "wrong magic": lambda: checkpoint({}, magic=1),
    "big-endian": lambda: checkpoint({}, little=False),
    "behind the end": lambda: checkpoint({"a": Tensor(storage(), 1, (24,), (1,))}, storage()),
    "strides behind the end": lambda: checkpoint({"a": Tensor(storage(), 0, (2, 2), (24, 1))}, storage()),
    "negative offset": lambda: checkpoint({"a": Tensor(storage(), -1, (2,), (1,))}, storage()),
    "negative stride": lambda: checkpoint({"a": Tensor(storage(), 4, (2,), (-1,))}, storage()),
    "huge by stride 0": lambda: checkpoint({"a": Tensor(storage(), 0, (1 << 30, 64), (0, 0))}, storage()),
    "fewer strides": lambda: checkpoint({"a": Tensor(storage(), 0, (2, 2), (1,))}, storage()),
    "rank 9": lambda: checkpoint({"a": Tensor(storage(), 0, (1,) * 9, (1,) * 9)}, storage()),
    "true as a size": lambda: checkpoint({"a": Tensor(storage(), 0, (True,), (1,))}, storage()),
    "no storage": lambda: checkpoint({"a": Tensor(storage(), 0, (1,), (1,))}),
    "one storage too many": lambda: checkpoint({}, storage()),
    "more bytes": lambda: good() + b"x",
    "huge memo": lambda: b"\x80\x02r" + struct.pack("<I", 1 << 31) + b".",
    "recursion": lambda: b"\x80\x02" + b"(" * 100_000 + b".",
    "protocol 4": lambda: pickle.dumps({"a": 1}, 4),
    "runs": lambda: pickle.dumps(Runs(), 2),
    "empty": lambda: b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused(name: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    path.write_bytes(HOSTILE[name]())
    with pytest.raises(FormatError) as caught:
        read_state(path)
    assert str(path) in str(caught.value)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
