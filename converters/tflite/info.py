"""What a TFLite file says of itself, as edgert keeps it: labels, licence, and how an image becomes the input.
Reading the metadata is in `metadata.py`, and in `parameters.py` for one maker's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgert.converters.names import shortened
from edgert.converters.tflite.metadata import TensorMetadata, read_metadata
from edgert.converters.tflite.model import TfliteModel
from edgert.converters.tflite.parameters import Parameter, read_parameters
from edgert.format import ModelInfo, Preprocessing
from edgert.format.limits import MAX_IMAGE_SIDE
from edgert.graph.ir import Graph, TensorType

PIXELS = TensorMetadata(mean=(0.0,), std=(1.0,))
"""Of images that come as they are."""

SMALLEST_STD = 1e-12
"""Standard deviations nearer to 0 are damage: pixels divided by them are beyond floats."""

MAX_LICENCE = 1 << 16
"""Characters; longer texts are no licence. Sixty-five thousand hold the GNU licences whole."""


def info_of(model: TfliteModel, graph: Graph) -> ModelInfo | None:
    """The `ModelInfo` of `model`, whose graph is `graph`; None when the file says nothing of use.

    Raises FormatError when the metadata is damaged.
    """
    found, parameters = read_metadata(model), read_parameters(model)
    classes = parameters.get("classes")
    labels = found.labels or (classes if isinstance(classes, list) else [])
    labels = labels if _classifies(graph, len(labels)) else []
    steps = None
    if len(graph.inputs) == 1:
        name, kind = graph.inputs[0], graph.types[graph.inputs[0]]
        about = found.inputs[0] if len(found.inputs) == 1 else TensorMetadata()
        steps = preprocessing(name, kind, about) or (preprocessing_by(name, kind, parameters) if parameters else None)
    name = line(found.name or str(parameters.get("name", "")))
    licence = found.licence if len(found.licence) <= MAX_LICENCE else ""
    if not labels and steps is None and not name and not licence:
        return None
    task = "image-classification" if labels and steps is not None else ""
    return ModelInfo(name, task, [line(label) for label in labels], steps, licence)


def line(text: str) -> str:
    """`text` on one line without control characters, as long as a name may be: what terminals can show."""
    return shortened(" ".join("".join(c if c.isprintable() else " " for c in text).split()))


def _classifies(graph: Graph, count: int) -> bool:
    """Whether the first output has one score for each of `count` labels."""
    kind = graph.types.get(graph.outputs[0]) if graph.outputs else None
    sizes = [size for size in kind.shape[1:] if size != 1] if kind is not None else []
    return count > 0 and sizes == [count]


def preprocessing(name: str, kind: TensorType, about: TensorMetadata) -> Preprocessing | None:
    """How an image becomes input `name`; None when it is no image [1, H, W, 1 or 3], or its normalisation unknown.

    Metadata normalise for float inputs: x = (pixel - mean) / std. A quantized input takes what that gives, divided by
    its scale, plus its zero point; one of uint8 without metadata takes pixels as they are.
    Source: TensorFlow Lite, "Adding metadata", normalization and quantization parameters.
    """
    if len(kind.shape) != 4 or kind.shape[3] not in (1, 3):
        return None
    if not all(isinstance(n, int) and 1 <= n <= MAX_IMAGE_SIDE for n in kind.shape[1:3]):
        return None
    channels = 3 if kind.shape[3] == 3 else 1
    mean, std = list(about.mean), list(about.std)
    known = len(mean) == len(std) and len(mean) in (1, channels) and np.isfinite([*mean, *std]).all()
    if not known or min(map(abs, std)) < SMALLEST_STD:
        if kind.dtype != "uint8":
            return None
        mean, scale = [0.0], [1.0]
    elif kind.quant is not None and kind.quant.per_tensor:
        step, zero = float(kind.quant.scale.item()), float(kind.quant.zero_point.item())
        mean, scale = [m - zero * step * s for m, s in zip(mean, std, strict=True)], [1 / (step * s) for s in std]
    else:
        scale = [1 / s for s in std]
    height, width = int(kind.shape[1]), int(kind.shape[2])
    return Preprocessing(
        name,
        (height, width),
        channels="L" if channels == 1 else "RGB",
        layout="NHWC",
        mean=mean,
        scale=scale,
        dtype=kind.dtype,
    )


def preprocessing_by(name: str, kind: TensorType, parameters: dict[str, Parameter]) -> Preprocessing | None:
    """The same by the parameters of Silicon Labs' toolkit: x = pixel * samplewise_norm.rescale.

    With samplewise_norm.mean_and_std each image is standardized, for float inputs. With neither, pixels are taken as
    they are, by int8 inputs less 128; images of one channel then look like the features of sound, and have none.
    Source: SiliconLabs/mltk, "Model parameters", ImageDatasetMixin.
    """
    sound = any(key.startswith("fe.") for key in parameters)
    rescale = parameters.get("samplewise_norm.rescale", 0.0)
    if sound or not isinstance(rescale, float):
        return None
    if rescale > 0:
        return preprocessing(name, kind, TensorMetadata(mean=(0.0,), std=(1 / rescale,)))
    if parameters.get("samplewise_norm.mean_and_std") is True:
        plain = preprocessing(name, kind, PIXELS) if kind.dtype == "float32" else None
        return None if plain is None else replace(plain, standardize=True)
    if "samplewise_norm.rescale" not in parameters or len(kind.shape) != 4 or kind.shape[3] != 3:
        return None
    plain = preprocessing(name, TensorType("float32", kind.shape), PIXELS)
    if plain is None or kind.dtype not in ("float32", "int8", "uint8"):
        return None
    return replace(plain, mean=[128.0 if kind.dtype == "int8" else 0.0], dtype=kind.dtype)
