"""Names what is on a picture: edgert in an Android app. Meant to be copied and changed.

Pictures come as pixels, from Android's own decoder, so nothing but NumPy is needed beside edgert.
"""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import numpy.typing as npt

import edgert
from edgert import models
from edgert.format import Preprocessing
from edgert.preprocess import load_image
from edgert.runtime.postprocess import top

MODEL = models.FASHION_MNIST_READY["int8"]
"""The classifier in edgert's wheels. One of your own goes beside this file: Path(__file__).with_name("model.edge")."""
THREADS = 2
"""Phones have few fast cores and several slow ones: a run waits for its slowest thread."""
GREY = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in a grey value (ITU-R BT.601), as training pictures were made grey."""

Pixels = npt.NDArray[np.uint8]


@cache
def session() -> edgert.Session:
    """The model, opened when it is first asked for and kept while the app lives."""
    return edgert.load(MODEL, threads=THREADS)


def sample(number: int = 1) -> str:
    """Path of a picture that ships, 28 x 28 grey: there is one of each of the 10 classes."""
    files = [path for path, _ in models.fashion_mnist_samples()]
    return str(files[number % len(files)])


def classify(pixels: bytes, width: int, height: int, count: int = 3) -> str:
    """The `count` most probable classes and the time of the answer, one a line.

    pixels: bytes R, G, B, A row by row, height * width * 4 of them; any object that bytes() takes.
    """
    model = session()
    steps = model.info.preprocessing
    if steps is None:
        raise ValueError(f"{MODEL}: expected a model that says how a picture becomes its input")
    rgb = np.frombuffer(bytes(pixels), np.uint8).reshape(height, width, 4)[..., :3]
    start = time.perf_counter()
    (scores,) = model.run(None, {steps.input: load_image(fitted(rgb, steps), steps)})
    milliseconds = 1e3 * (time.perf_counter() - start)
    quant = model.model.graph.types[model.get_outputs()[0].name].quant
    answers = top(scores, model.info.labels, count, quant)
    lines = [f"{a.label or f'class {a.index}'}  {100 * a.probability:.1f} %" for a in answers]
    return "\n".join([*lines, f"{milliseconds:.1f} ms, {model.kernels} {model.level.name}"])


def fitted(rgb: Pixels, steps: Preprocessing) -> Pixels:
    """uint8 [H, W, 3] -> uint8 [h, w, 3 or 1] as the model takes it: the middle of the picture, or all of it, made
    smaller by averages."""
    height, width = steps.crop
    if steps.resize is not None:
        scale = min(rgb.shape[:2]) / steps.resize  # pixels of the picture for one of the input
        rgb = middle(middle(rgb, round(height * scale), 0), round(width * scale), 1)
    real = averaged(averaged(rgb.astype(np.float32), height, 0), width, 1)
    if steps.channels == "L":
        real = (real @ GREY)[..., None]
    return np.rint(real).astype(np.uint8)


def middle(image: Pixels, size: int, axis: int) -> Pixels:
    """The middle `size` rows (axis 0) or columns (axis 1); all of them if there are no more."""
    start = max(0, (image.shape[axis] - size) // 2)
    return image.take(range(start, min(start + size, image.shape[axis])), axis)


def averaged(image: npt.NDArray[np.float32], size: int, axis: int) -> npt.NDArray[np.float32]:
    """`size` rows or columns, each the average of its share of the old ones; repeated where there are too few."""
    count = image.shape[axis]
    starts = np.arange(size) * count // size
    if count < size:
        return image.take(starts, axis)
    shape = [1, 1, 1]
    shape[axis] = size
    return np.add.reduceat(image, starts, axis) / np.diff(starts, append=count).astype(np.float32).reshape(shape)
