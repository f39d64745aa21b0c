"""The classifier that ships with edgert, and what is needed to try it: sample images, calibration data.

Only paths live here. How the model was made is training/fashion_mnist.py.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent

FASHION_MNIST = _HERE / "fashion_mnist.onnx"
"""float32 image [N, 1, 28, 28] in [0, 1] -> logits [N, 10]. 92.3 % of the 10,000 test images are right."""

FASHION_MNIST_CALIBRATION = _HERE / "fashion_mnist_calibration.npz"
"""`image` float32 [200, 1, 28, 28]: training images, 20 of each class, to choose int8 ranges by."""


def fashion_mnist_samples() -> list[tuple[Path, int]]:
    """(28 x 28 grey PNG, class number) of the first test image of each class, by class number."""
    files = sorted((_HERE / "samples").glob("[0-9]-*.png"))
    return [(file, int(file.name[0])) for file in files]
