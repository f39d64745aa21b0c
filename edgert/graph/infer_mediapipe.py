"""Shape functions of the operators of MediaPipe's models, on images [1, H, W, C].
What they compute is in `kernels_cpu/reference/mediapipe.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import known_size, merge_dims, not_quantized, product
from edgert.graph.infer_conv import windowed
from edgert.graph.infer_elementwise import one_of, present
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, operator

MAX_SIDE = 1 << 13
"""Pixels of a crop along one side; models have 16 to 256."""


def _floats(ins: Sequence[TensorType | None], *ranks: int) -> list[TensorType]:
    """The inputs, float32 of these ranks."""
    types = present(ins)
    not_quantized(*types)
    for kind, rank in zip(types, ranks, strict=True):
        one_of(kind.dtype, ("float32",))
        check(len(kind.shape) == rank, f"an input of rank {rank}", kind.shape)
    return types


def _crop(node: Node) -> tuple[int, int]:
    """The checked attributes output_height and output_width."""
    size = node.attr_int("output_height", 0), node.attr_int("output_width", 0)
    check(all(1 <= side <= MAX_SIDE for side in size), f"a crop of 1 to {MAX_SIDE} pixels each way", size)
    return size


@operator("Landmarks2TransformMatrix", inputs=(1, 1))
def landmarks_to_transform_matrix(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """[1, n, 3] to [1, 4, 4]; the landmarks named by attributes exist."""
    (x,) = _floats(ins, 3)
    _crop(node)
    check(x.shape[0] == 1 and x.shape[2] == 3, "landmarks [1, n, 3]", x.shape)
    count, subset = known_size(x.shape[1], "number of landmarks"), node.attr_ints("subset_idxs", [])
    named = [*subset, node.attr_int("left_rotation_idx", 0), node.attr_int("right_rotation_idx", 0)]
    check(bool(subset) and all(0 <= i < count for i in named), f"landmarks in [0, {count})", named)
    return [TensorType("float32", (1, 4, 4))]


@operator("TransformTensorBilinear", inputs=(2, 2))
def transform_tensor_bilinear(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """[1, H, W, C] and [1, 4, 4] to [1, output_height, output_width, C]."""
    x, matrix = _floats(ins, 4, 3)
    check(x.shape[0] == 1 and matrix.shape == (1, 4, 4), "an image and a matrix [1, 4, 4]", matrix.shape)
    check(all(isinstance(n, str) or n > 0 for n in x.shape[1:3]), "an image with pixels", x.shape)
    return [TensorType("float32", (1, *_crop(node), x.shape[3]))]


@operator("MaxPoolingWithArgmax2D", inputs=(1, 1))
def max_pooling_with_argmax(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """[B, H, W, C] to two of [B, h, w, C]."""
    (x,) = _floats(ins, 4)
    b, h, w, c = x.shape
    out = TensorType("float32", (b, *windowed((h, w), node.attr_ints("kernel_shape", []), node), c))
    return [out, out]


@operator("MaxUnpooling2D", inputs=(2, 2))
def max_unpooling(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """[B, h, w, C] twice to [B, h * kh, w * kw, C]."""
    x, places = _floats(ins, 4, 4)
    kernel, strides = node.attr_ints("kernel_shape", []), node.attr_ints("strides", [])
    check(len(kernel) == len(strides) == 2 and min(*kernel, *strides) >= 1, "two sizes and strides >= 1", node.attrs)
    for pair in zip(x.shape, places.shape, strict=True):
        merge_dims(pair, "values and places")
    b, h, w, c = x.shape
    return [TensorType("float32", (b, product((h, kernel[0])), product((w, kernel[1])), c))]
