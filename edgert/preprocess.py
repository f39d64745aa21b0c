"""From an image to the input tensor a model expects, as the `Preprocessing` in its file says.
Resizing needs Pillow, and so do files other than plain PNGs; collections of images are in `datasets.py`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgert.errors import EdgertError, InputError
from edgert.format import Preprocessing
from edgert.graph.ir import DTYPES, Array
from edgert.png import read_png

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")

SMALLEST_STD = 1e-6
"""Added to the standard deviation of an image: one of a single colour becomes zeros. Source: Keras, standardize()."""

MAX_PIXELS = 1 << 27
"""Of one image: three quarters of a gigabyte as RGB floats; far beyond any camera this is used with."""


def load_image(source: str | Path | Array, steps: Preprocessing) -> Array:
    """The input tensor [1, C, H, W] or [1, H, W, C] of one image, in the dtype of `steps`.

    source: a file, or pixels uint8 [H, W] or [H, W, 3 or 4].
    Raises InputError for what is not an image, EdgertError when Pillow is needed and missing.
    """
    height, width = steps.crop
    wanted = (height, width, 1 if steps.channels == "L" else 3)
    if not isinstance(source, str | Path):
        pixels = np.asarray(source)
        if pixels.dtype == np.uint8 and pixels.reshape(*pixels.shape[:2], -1).shape == wanted:
            rgb = pixels.reshape(wanted)
            return normalized(rgb[..., ::-1] if steps.channels == "BGR" else rgb, steps)
    elif not find_spec("PIL"):
        return load_image(_plain_pixels(Path(source), steps), steps)
    image = _cropped(_opened(source), steps)
    pixels = np.asarray(image.convert("L" if steps.channels == "L" else "RGB")).reshape(wanted)
    return normalized(pixels[..., ::-1] if steps.channels == "BGR" else pixels, steps)


def _plain_pixels(path: Path, steps: Preprocessing) -> Array:
    """Pixels uint8 [H, W, C] of a PNG that is as the model takes it, without Pillow. Raises InputError."""
    pixels = read_png(path)
    height, width = steps.crop
    if pixels.shape[:2] != (height, width) or steps.resize not in (None, min(height, width)):
        found = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise InputError(
            f"{path}: expected an image of {width} x {height}, found {found}; "
            "resizing needs Pillow: pip install 'edgert[image]'"
        )
    if pixels.shape[2] == 3 and steps.channels == "L":
        raise InputError(
            f"{path}: expected a grey image, found RGB; converting needs Pillow: pip install 'edgert[image]'"
        )
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 and steps.channels != "L" else pixels


def normalized(pixels: Array, steps: Preprocessing) -> Array:
    """(pixel - mean) * scale of uint8 [H, W, C], with a batch axis, in the layout and dtype of `steps`; standardized
    over all its values where `steps` says so."""
    mean, scale = np.asarray(steps.mean, np.float32), np.asarray(steps.scale, np.float32)
    real = (pixels.astype(np.float32) - mean) * scale
    if steps.standardize:
        wide = real.astype(np.float64)
        real = ((wide - wide.mean()) / (wide.std() + SMALLEST_STD)).astype(np.float32)
    dtype = DTYPES[steps.dtype]
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        real = np.clip(np.rint(real), limits.min, limits.max)
    batch = real.astype(dtype)[None]
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2) if steps.layout == "NCHW" else batch)


def _pillow() -> Any:
    try:
        import PIL.Image
    except ImportError:
        raise EdgertError("reading images needs Pillow: pip install 'edgert[image]'") from None
    return PIL.Image


def _opened(source: str | Path | Array) -> Image:
    """The image with its orientation from EXIF applied. Raises InputError."""
    pillow = _pillow()
    if not isinstance(source, str | Path):
        pixels = np.asarray(source)
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
            raise InputError(f"expected pixels as uint8 [H, W] or [H, W, C], found {pixels.dtype} {list(pixels.shape)}")
        image: Image = pillow.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
        return image
    from PIL import ImageOps

    try:
        opened: Image = pillow.open(source)
        if opened.width * opened.height > MAX_PIXELS:
            found = f"{opened.width} x {opened.height}"
            raise InputError(f"{source}: expected an image of at most {MAX_PIXELS} pixels, found {found}")
        return ImageOps.exif_transpose(opened)
    except FileNotFoundError:
        raise InputError(f"{source}: no such file") from None
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise InputError(f"{source}: expected an image, found something else ({error})") from None


def _cropped(image: Image, steps: Preprocessing) -> Image:
    """Resized to a shorter side of `steps.resize`, then cut from the centre; or resized straight to the crop."""
    height, width = steps.crop
    resample = getattr(_pillow().Resampling, steps.resample.upper(), None)
    if resample is None:
        raise InputError(f"expected a resampling filter that Pillow has, found {steps.resample!r}")
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    if steps.resize is None:
        return image.resize((width, height), resample)
    factor = steps.resize / min(image.size)
    # The crop may ask for more than the shorter side: it is what must be filled.
    size = (max(width, round(image.width * factor)), max(height, round(image.height * factor)))
    if size != image.size:
        image = image.resize(size, resample)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return image.crop((left, top, left + width, top + height))
