"""A network whose weights are worth streaming, in a file: convolutions, a table, and a product that is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from networks import Network

from edgert.format import StoredTensor, write_model
from edgert.graph.ir import Array

WIDTH, SIZE, CLASSES, WORDS = 96, 10, 1000, 6000
"""Weights: 330 KB for each of 4 convolutions, half of that for one in float16, 380 KB and a table of 2.3 MB."""


def build(path: Path, *, batch: int | str = "N") -> Path:
    """image [N, 3, SIZE, SIZE], words int64 [N] -> scores [N, CLASSES]."""
    net = Network(11)
    x = net.conv(net.input("image", (batch, 3, SIZE, SIZE)), 3, WIDTH, 3, activation="Relu")
    for _ in range(4):
        x = net.conv(x, WIDTH, WIDTH, 3, activation="Relu")
    halves = net.rng.standard_normal((WIDTH, WIDTH, 3, 3)).astype(np.float32) / WIDTH
    half = net.store(StoredTensor.pack_f16("half", halves, "n4k1"))
    x = net.node("Conv", x, half, kernel_shape=[3, 3], pads=[1] * 4)
    pooled = net.node("Flatten", net.node("GlobalAveragePool", x))
    table = net.constant("table", net.rng.standard_normal((WORDS, WIDTH)).astype(np.float32))
    words = net.node("Gather", table, net.input("words", (batch,), "int64"))
    w = net.constant("w", net.rng.standard_normal((CLASSES, WIDTH)).astype(np.float32), "n16k1")
    bias = net.constant("bias", net.rng.standard_normal(CLASSES).astype(np.float32))
    write_model(net.model(net.node("Gemm", net.node("Add", pooled, words), w, bias, out="scores", transB=1)), path)
    return path


def feeds(rows: int = 1, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((rows, 3, SIZE, SIZE)).astype(np.float32)
    return {"image": image, "words": rng.integers(0, WORDS, rows)}
