"""Samples from folders, .npz and idx files, and one clear error for anything else."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from edgert.datasets import load_dataset, read_idx
from edgert.errors import InputError
from edgert.format import Preprocessing

STEPS = Preprocessing("image", (4, 6), channels="L")


def write_idx(path: Path, values: np.ndarray) -> None:
    content = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_idx_pairs(tmp_path: Path, rng: np.random.Generator) -> None:
    for prefix, count in (("t10k", 3), ("train", 5)):
        images = rng.integers(0, 256, (count, 4, 6)).astype(np.uint8)
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8))
    test = load_dataset(tmp_path)
    assert (len(test), test.labels) == (3, [0, 1, 2])
    train = load_dataset(tmp_path, split="train")
    assert (len(train), train.labels) == (5, [0, 1, 2, 3, 4])
    direct = load_dataset(tmp_path / "train-images-idx3-ubyte.gz", needs_labels=True)
    feeds = list(direct.feeds(["image"], STEPS, limit=2))
    assert len(feeds) == 2
    np.testing.assert_array_equal(feeds[1]["image"], images[1].astype(np.float32)[None, None])


@pytest.mark.parametrize(
    "content", [b"", b"\0\0", b"\0\0\x0d\x01\0\0\0\1\0", b"\0\0\x08\x03\0\0\0\1", b"\0\0\x08\x01\xff\xff\xff\xff"]
)
def test_broken_idx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_idx(path)
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(content)[:-4] or b"x")
    with pytest.raises(InputError):
        read_idx(packed)


def test_class_folders(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    for name, count in (("dog", 2), ("cat", 1)):
        (tmp_path / name).mkdir()
        for i in range(count):
            pillow.new("RGB", (8, 8)).save(tmp_path / name / f"{i}.png")
        (tmp_path / name / "notes.txt").write_text("not an image")
    assert load_dataset(tmp_path).labels == [0, 1, 1]
    assert load_dataset(tmp_path, class_names=["bird", "dog", "cat"]).labels == [2, 1, 1]
    assert load_dataset(tmp_path, class_names=["bird", "dog"]).labels == [0, 1, 1], "unknown names: alphabetical"
    flat = load_dataset(tmp_path / "dog")
    assert (len(flat), flat.labels) == (2, None)
    assert len(load_dataset(tmp_path / "dog" / "0.png")) == 1
    with pytest.raises(InputError, match="one folder per class"):
        load_dataset(tmp_path / "dog", needs_labels=True)


def test_npz(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "data.npz"
    ready = rng.standard_normal((6, 3)).astype(np.float32)
    np.savez(path, x=ready, y=np.arange(6))
    data = load_dataset(path, needs_labels=True)
    np.testing.assert_array_equal([feeds["in"][0] for feeds in data.feeds(["in"], None)], ready)
    chosen = data.spread(3)
    assert chosen.labels == [0, 2, 5]
    np.testing.assert_array_equal([feeds["in"][0] for feeds in chosen.feeds(["in"], None)], ready[[0, 2, 5]])
    np.savez(path, a=ready, b=ready[:, 0])
    (feeds, *_rest) = load_dataset(path).feeds(["b", "a"], None)
    assert {name: value.shape for name, value in feeds.items()} == {"a": (1, 3), "b": (1,)}
    with pytest.raises(InputError, match="named c"):
        list(load_dataset(path).feeds(["c"], None))
    np.savez(path, x=rng.integers(0, 256, (2, 4, 6)).astype(np.uint8))
    (feeds, _) = load_dataset(path).feeds(["image"], STEPS)
    assert feeds["image"].shape == (1, 1, 4, 6)
    with pytest.raises(InputError, match="becomes its input"):
        list(load_dataset(path).feeds(["image"], None))


def test_broken_npz(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="npz"):
        load_dataset(path)
    np.savez(path, x=np.zeros((2, 3)), y=np.zeros(3, int))
    with pytest.raises(InputError, match="2 integers"):
        load_dataset(path)
    np.savez(path, a=np.zeros((2, 3)), b=np.zeros((3, 3)))
    with pytest.raises(InputError, match="batch axis"):
        load_dataset(path)
    np.savez(path, x=np.array([{"a": 1}], object))
    with pytest.raises(InputError, match="plain arrays"):
        load_dataset(path)


def test_what_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing there"):
        load_dataset(tmp_path / "missing")
    with pytest.raises(InputError, match="at least one sample"):
        load_dataset(tmp_path)
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(InputError, match=r"\.csv"):
        load_dataset(tmp_path / "a.csv")
