"""Shape functions of DetectionPostProcess and NonMaxSuppressionV5, which give a fixed number of places.
What they compute is in `kernels_cpu/reference/detection.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import known_size, merge_dims, not_quantized
from edgert.graph.infer_elementwise import one_of, present
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, need_const, operator

MAX_PLACES = 1 << 20
"""Of boxes given out; detectors give 10 to 1000."""


@operator("DetectionPostProcess", inputs=(3, 3))
def detection_post_process(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """encodings [1, n, 4+], scores [1, n, num_classes+], anchors [n, 4], to [1, m, 4], [1, m], [1, m], [1]."""
    types = present(ins)
    not_quantized(*types)
    for kind, rank in zip(types, (3, 3, 2), strict=True):
        one_of(kind.dtype, ("float32",))
        check(len(kind.shape) == rank, f"an input of rank {rank}", kind.shape)
    encodings, scores, anchors = types
    merge_dims((encodings.shape[1], scores.shape[1], anchors.shape[0]), "boxes (encodings, scores, anchors)")
    check(encodings.shape[0] == scores.shape[0] == 1, "a batch of 1", encodings.shape[0])
    classes = node.attr_int("num_classes", 1)
    wide = known_size(scores.shape[2], "number of classes")
    check(1 <= classes <= wide <= classes + 1, f"scores of {classes} classes, perhaps with a background", wide)
    check(known_size(encodings.shape[2], "width of a box") >= 4, "encodings of 4 values", encodings.shape)
    check(anchors.shape[1] == 4, "anchors of 4 values", anchors.shape)
    most, each = node.attr_int("max_detections", 1), node.attr_int("max_classes_per_detection", 1)
    check(most >= 1 and each >= 1 and most * each <= MAX_PLACES, "places for 1 box or more", f"{most} x {each}")
    check(node.attr_int("detections_per_class", 100) >= 1, "detections_per_class >= 1", node.attrs)
    check(all(node.attr_float(f"{k}_scale", 1.0) != 0 for k in "yxhw"), "scales other than 0", node.attrs)
    places = most * each
    shapes = ((1, places, 4), (1, places), (1, places), (1,))
    return [TensorType("float32", shape) for shape in shapes]


@operator("NonMaxSuppressionV5", inputs=(5, 6))
def non_max_suppression_v5(
    node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]
) -> list[TensorType]:
    """boxes [n, 4], scores [n], then scalars: how many places (a value that must be known), thresholds, sigma."""
    types = present(ins)
    not_quantized(*types)
    boxes, scores, most = types[:3]
    check(len(boxes.shape) == 2 and boxes.shape[1] == 4, "boxes [n, 4]", boxes.shape)
    check(len(scores.shape) == 1, "scores [n]", scores.shape)
    merge_dims((boxes.shape[0], scores.shape[0]), "boxes and scores")
    for kind in (boxes, scores, *types[3:]):
        one_of(kind.dtype, ("float32",))
    for kind in types[2:]:
        check(kind.shape in ((), (1,)), "scalars", kind.shape)
    one_of(most.dtype, ("int32", "int64"))
    places = int(need_const(consts[2], "max_output_size").item())
    check(0 <= places <= MAX_PLACES, f"at most {MAX_PLACES} places", places)
    return [TensorType("int32", (places,)), TensorType("float32", (places,)), TensorType("int32", ())]
