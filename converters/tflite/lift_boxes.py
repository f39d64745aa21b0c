"""What detectors end with: TFLite_Detection_PostProcess and NON_MAX_SUPPRESSION_V4 and V5.
The convolutions before them are in `lift_conv.py`."""

from __future__ import annotations

from edgert.converters.tflite.builder import Builder
from edgert.converters.tflite.custom_options import numbers_of
from edgert.converters.tflite.lifts import lift
from edgert.converters.tflite.model import TfliteOperator
from edgert.graph.ir import Attr


@lift("TFLite_Detection_PostProcess")
def detection_post_process(b: Builder, op: TfliteOperator) -> None:
    """Inputs (encodings, scores, anchors), which may be quantized."""
    given = numbers_of(op)
    attrs: dict[str, Attr] = {
        key: int(given.get(key, default))
        for key, default in (
            ("max_detections", 0), ("max_classes_per_detection", 1), ("num_classes", 0),
            ("detections_per_class", 100), ("use_regular_nms", 0),
        )
    }  # fmt: skip
    attrs |= {key: float(given.get(key, 0.0)) for key in ("nms_score_threshold", "nms_iou_threshold")}
    attrs |= {f"{key}_scale": float(given.get(f"{key}_scale", 1.0)) for key in "yxhw"}
    b.emit(op, "DetectionPostProcess", [b.real(i) for i in op.inputs[:3]], attrs)


@lift("NON_MAX_SUPPRESSION_V4")
def non_max_suppression_v4(b: Builder, op: TfliteOperator) -> None:
    """As V5, without scores that fall and without giving them out."""
    positions, count = op.outputs[:2]
    outputs = [b.declare(positions), b.between(op, "scores"), b.declare(count)]
    b.emit(op, "NonMaxSuppressionV5", [b.use(i) for i in op.inputs[:5]], {}, outputs)


@lift("NON_MAX_SUPPRESSION_V5")
def non_max_suppression_v5(b: Builder, op: TfliteOperator) -> None:
    b.emit(op, "NonMaxSuppressionV5", [b.use(i) for i in op.inputs[:6]])
