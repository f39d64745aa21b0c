"""The classifiers that ship with edgert, dense and sparse, and what is needed to try them: samples, calibration data.

Only paths and measured numbers live here. How the models were made is training/. The sources carry ONNX files to
convert; a wheel for one kind of machine carries what they were converted to instead, as a device has no converter.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent

FASHION_MNIST = _HERE / "fashion_mnist.onnx"
"""float32 image [N, 1, 28, 28] in [0, 1] -> logits [N, 10]."""

FASHION_MNIST_SPARSE = _HERE / "fashion_mnist_sparse.onnx"
"""The same network trained with gradual pruning: blocks of 4x4 channels of its pointwise layers are zero."""

FASHION_MNIST_CALIBRATION = _HERE / "fashion_mnist_calibration.npz"
"""`image` float32 [200, 1, 28, 28]: training images, 20 of each class, to choose int8 ranges by."""

FASHION_MNIST_READY = {
    "int8": _HERE / "fashion_mnist-int8.edge",
    "sparse int8": _HERE / "fashion_mnist-sparse-int8.edge",
}
"""Form -> the converted file, in a wheel for one kind of machine. Without float: it is as large as all the kernels."""

FASHION_MNIST_TOP1 = {"float": 0.9307, "int8": 0.9308, "sparse int8": 0.9299}
"""Share of the 10,000 test images that each form names rightly; tests/models/test_fashion_mnist.py holds it."""


def fashion_mnist_samples() -> list[tuple[Path, int]]:
    """(28 x 28 grey PNG, class number) of the first test image of each class, by class number."""
    files = sorted((_HERE / "samples").glob("[0-9]-*.png"))
    return [(file, int(file.name[0])) for file in files]
