"""Samples to calibrate with or to measure accuracy on: folders of images, .npz arrays, idx files (MNIST).
How one image becomes an input tensor is in `preprocess.py`."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgert.errors import InputError
from edgert.format import Preprocessing
from edgert.graph.ir import Array
from edgert.preprocess import IMAGE_SUFFIXES, load_image

IDX_UINT8 = 0x08
"""Element type byte of an idx file; the only one that image sets use."""

MAX_IDX_BYTES = 1 << 31
"""Of one decompressed idx file: 40 times Fashion-MNIST."""


@dataclass(frozen=True)
class Dataset:
    """Samples, not yet loaded where they are files, and their labels.

    images: image files or pixels uint8 [H, W(, C)], to be preprocessed; or
    arrays: input name ('' for the only input) -> values with a batch axis, ready to be fed.
    labels: class index of each sample, or None. classes: names of the classes, where folders tell.
    """

    images: Sequence[Path | Array] = ()
    arrays: dict[str, Array] | None = None
    labels: list[int] | None = None
    classes: list[str] | None = None

    def __len__(self) -> int:
        return len(self.images) if self.arrays is None else len(next(iter(self.arrays.values())))

    def feeds(
        self, inputs: Sequence[str], steps: Preprocessing | None, limit: int | None = None
    ) -> Iterator[dict[str, Array]]:
        """One feed, a batch of one, per sample in order; at most `limit`.

        Raises InputError when images come without preprocessing, or arrays under other names.
        """
        count = len(self) if limit is None else min(limit, len(self))
        if self.arrays is not None:
            named = _named(self.arrays, inputs)
            for i in range(count):
                yield {name: value[i : i + 1] for name, value in named.items()}
            return
        if steps is None:
            raise InputError(
                "expected the model to say how an image becomes its input, found nothing; convert it with "
                "--input-size, --mean and --scale, or give ready arrays in an .npz"
            )
        for image in self.images[:count]:
            yield {steps.input: load_image(image, steps)}

    def spread(self, count: int) -> Dataset:
        """At most `count` samples, evenly spaced: sets sorted by class keep all their classes."""
        if len(self) <= count:
            return self
        places = np.linspace(0, len(self) - 1, count).round().astype(int)
        labels = [self.labels[i] for i in places] if self.labels is not None else None
        arrays = {k: v[places] for k, v in self.arrays.items()} if self.arrays is not None else None
        images = [self.images[i] for i in places] if arrays is None else ()
        return Dataset(images, arrays, labels, self.classes)


def load_dataset(
    path: str | os.PathLike[str], *, class_names: Sequence[str] = (), split: str = "test", needs_labels: bool = False
) -> Dataset:
    """The samples in `path`.

    path: a folder of images, or of one folder of images per class; a folder with idx files or one of
    their image files (.gz or not), labels beside it; an .npz with `x` (uint8 images or ready values) and
    perhaps `y`, or with arrays named as the inputs; one image.
    class_names: the model's labels; class folders with these names get these indices, others are
    numbered in alphabetical order. split: 'test' or 'train', where a folder has idx files of both.
    Raises InputError for anything else, or where labels are needed and there are none.
    """
    path = Path(path)
    if path.is_dir():
        idx = _idx_images(path, split)
        found = _from_idx(idx) if idx is not None else _from_folder(path, class_names)
    elif not path.is_file():
        raise InputError(f"{path}: expected a folder, an .npz, an idx file or an image, found nothing there")
    elif path.suffix == ".npz":
        found = _from_npz(path)
    elif "-ubyte" in path.name:
        found = _from_idx(path)
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        found = Dataset([path])
    else:
        raise InputError(f"{path}: expected a folder, an .npz, an idx file or an image, found {path.suffix!r}")
    if len(found) == 0:
        raise InputError(f"{path}: expected at least one sample, found none")
    if needs_labels and found.labels is None:
        raise InputError(
            f"{path}: expected labels, found none; use one folder per class, idx files or an .npz with x and y"
        )
    return found


def _named(arrays: dict[str, Array], inputs: Sequence[str]) -> dict[str, Array]:
    if set(arrays) == {""} and len(inputs) == 1:
        return {inputs[0]: arrays[""]}
    if set(arrays) != set(inputs):
        found = ", ".join(name or "x" for name in arrays)
        raise InputError(f"expected arrays named {', '.join(inputs)}, found {found}")
    return arrays


def _images_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES)


def _from_folder(path: Path, class_names: Sequence[str]) -> Dataset:
    folders = sorted(p for p in path.iterdir() if p.is_dir() and _images_in(p))
    if not folders:
        return Dataset(_images_in(path))
    names = [folder.name for folder in folders]
    if set(names) <= set(class_names):
        index = {name: list(class_names).index(name) for name in names}
    else:
        index = {name: i for i, name in enumerate(names)}
    images: list[Path] = []
    labels: list[int] = []
    for folder in folders:
        inside = _images_in(folder)
        images += inside
        labels += [index[folder.name]] * len(inside)
    return Dataset(images, None, labels, names)


def _from_npz(path: Path) -> Dataset:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zlib.error, EOFError, KeyError) as error:
        raise InputError(f"{path}: expected an .npz of plain arrays, found something else ({error})") from None
    labels = arrays.pop("y", None)
    lengths = {len(value) if value.ndim else -1 for value in arrays.values()}
    if not arrays or len(lengths) != 1 or -1 in lengths:
        raise InputError(f"{path}: expected arrays with one common batch axis, found lengths {sorted(lengths)}")
    count = lengths.pop()
    if labels is not None and (labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer)):
        raise InputError(f"{path}: expected y as {count} integers, found {labels.dtype} of shape {list(labels.shape)}")
    named = None if labels is None else [int(label) for label in labels]
    if set(arrays) == {"x"}:
        x = arrays["x"]
        if x.dtype == np.uint8 and x.ndim in (3, 4):
            return Dataset(list(x), None, named)
        return Dataset((), {"": x}, named)
    return Dataset((), arrays, named)


def _idx_images(folder: Path, split: str) -> Path | None:
    """The image file of an idx pair in `folder`; of several, the one whose name says `split`."""
    found = sorted(p for p in folder.iterdir() if "images" in p.name and "-ubyte" in p.name)
    wanted = ("t10k", "test") if split == "test" else ("train",)
    named = [p for p in found if any(word in p.name for word in wanted)]
    return next(iter(named or found), None)


def _from_idx(path: Path) -> Dataset:
    images = read_idx(path)
    if images.ndim not in (3, 4):
        raise InputError(f"{path}: expected images [N, H, W], found shape {list(images.shape)}")
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    labels = None
    if beside != path and beside.is_file():
        values = read_idx(beside)
        if values.shape != images.shape[:1]:
            raise InputError(f"{beside}: expected {len(images)} labels, found shape {list(values.shape)}")
        labels = [int(label) for label in values]
    return Dataset(list(images), None, labels)


def read_idx(path: Path) -> Array:
    """The uint8 array in an idx file, gzipped or not. Source: LeCun et al., the MNIST database.

    Raises InputError when the header and the length do not agree.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MAX_IDX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: expected an idx file, found something unreadable ({error})") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != IDX_UINT8:
        raise InputError(f"{path}: expected an idx file of bytes, found {content[:4].hex() or 'nothing'}")
    rank = content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise InputError(f"{path}: expected {rank} sizes, found the end of the file")
    shape = struct.unpack(f">{rank}I", content[4:start])
    size = 1
    for d in shape:
        size *= d
    if len(content) != start + size:
        raise InputError(f"{path}: expected {start + size} bytes for shape {list(shape)}, found {len(content)}")
    return np.frombuffer(content, np.uint8, size, start).reshape(shape)
