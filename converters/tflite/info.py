"""What a TFLite file says of itself, as edgert keeps it: labels, licence, and how an image becomes the input.
Reading the metadata is in `metadata.py`."""

from __future__ import annotations

from edgert.converters.tflite.metadata import TensorMetadata, read_metadata
from edgert.converters.tflite.model import TfliteModel
from edgert.format import ModelInfo, Preprocessing
from edgert.graph.ir import Graph, TensorType


def info_of(model: TfliteModel, graph: Graph) -> ModelInfo | None:
    """The `ModelInfo` of `model`, whose graph is `graph`; None when the file says nothing of use.

    Raises FormatError when the metadata is damaged.
    """
    found = read_metadata(model)
    labels = found.labels if _classifies(graph, len(found.labels)) else []
    steps = None
    if len(graph.inputs) == 1:
        about = found.inputs[0] if len(found.inputs) == 1 else TensorMetadata()
        steps = preprocessing(graph.inputs[0], graph.types[graph.inputs[0]], about)
    if not labels and steps is None and not found.name and not found.licence:
        return None
    task = "image-classification" if labels and steps is not None else ""
    return ModelInfo(found.name, task, labels, steps, found.licence)


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
    if len(kind.shape) != 4 or kind.shape[3] not in (1, 3) or not all(isinstance(n, int) for n in kind.shape[1:]):
        return None
    channels = 3 if kind.shape[3] == 3 else 1
    mean, std = list(about.mean), list(about.std)
    if len(mean) != len(std) or len(mean) not in (1, channels) or 0.0 in std:
        if kind.dtype != "uint8":
            return None
        mean, scale = [0.0], [1.0]
    elif kind.quant is not None:
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
