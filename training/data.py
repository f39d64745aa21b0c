"""Fashion-MNIST for training: its files, the random changes made to images, the samples and calibration data that ship.

No network here: training/networks.py.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

LABELS = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
CLASSES = len(LABELS)
SIDE = 28
CALIBRATION_PER_CLASS = 20


@dataclass(frozen=True)
class Images:
    """`images` float32 [N, 1, 28, 28] in [0, 1], `labels` int64 [N]."""

    images: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def read(cls, folder: Path, prefix: str) -> Images:
        """prefix: "train" (60,000 images) or "t10k" (10,000 to test with)."""
        images, labels = (read_idx(folder, f"{prefix}-{name}-ubyte") for name in ("images-idx3", "labels-idx1"))
        return cls(torch.from_numpy(images).float().div_(255)[:, None], torch.from_numpy(labels).long())


def read_idx(folder: Path, name: str) -> np.ndarray:
    """One array of the MNIST file format: magic 0, 0, 8 (unsigned byte), rank, sizes, then the bytes."""
    path = folder / name
    data = path.read_bytes() if path.exists() else gzip.decompress((folder / f"{name}.gz").read_bytes())
    zero, kind, rank = struct.unpack(">HBB", data[:4])
    if (zero, kind) != (0, 8):
        raise ValueError(f"{path}: not an idx file of unsigned bytes")
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()


def augment(images: torch.Tensor) -> torch.Tensor:
    """Mirror half of the images, shift each by up to 2 pixels, and grey out a small square in some."""
    n = len(images)
    images = torch.where(torch.rand(n, 1, 1, 1) < 0.5, images, images.flip(3))
    padded = functional.pad(images, (2, 2, 2, 2))
    corner = torch.randint(0, 5, (2, n, 1))
    rows = (corner[0] + torch.arange(SIDE))[:, :, None]
    columns = (corner[1] + torch.arange(SIDE))[:, None, :]
    images = padded[torch.arange(n)[:, None, None], 0, rows, columns][:, None]
    top, left = torch.randint(-4, SIDE, (2, n, 1, 1))
    grid = torch.arange(SIDE)
    inside = (grid[None, :, None] >= top) & (grid[None, :, None] < top + 8)
    inside = inside & (grid[None, None, :] >= left) & (grid[None, None, :] < left + 8)
    erased = inside[:, None] & (torch.rand(n, 1, 1, 1) < 0.4)
    return images.masked_fill(erased, 0.3)


def png(image: np.ndarray) -> bytes:
    """uint8 [height, width] as a grey PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = image.shape
    rows = np.pad(image, ((0, 0), (1, 0)))  # each row starts with its filter: 0, none
    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write_samples(data: Path, folder: Path) -> None:
    """The first test image of each class, as it comes, named by class number and label."""
    images, labels = (read_idx(data, f"t10k-{n}-ubyte") for n in ("images-idx3", "labels-idx1"))
    folder.mkdir(exist_ok=True)
    for number, label in enumerate(LABELS):
        name = re.sub("[^a-z]+", "-", label.lower())
        (folder / f"{number}-{name}.png").write_bytes(png(images[np.argmax(labels == number)]))


def write_calibration(data: Path, path: Path) -> None:
    """The first training images of each class, as the network's input."""
    images, labels = (read_idx(data, f"train-{n}-ubyte") for n in ("images-idx3", "labels-idx1"))
    first = [np.flatnonzero(labels == number)[:CALIBRATION_PER_CLASS] for number in range(CLASSES)]
    chosen = np.sort(np.concatenate(first))
    np.savez_compressed(path, image=images[chosen, None].astype(np.float32) / np.float32(255))
