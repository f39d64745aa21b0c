"""Every lift edgert has: importing this module fills `LIFTS` and `QUANTIZED_LIFTS` from the `lift_*` families.
The table itself, and the function that walks a graph, are in `lifts.py`."""

from edgert.converters.tflite import (  # noqa: F401  (each import registers lifts)
    lift_boxes,
    lift_complex,
    lift_control,
    lift_conv,
    lift_custom,
    lift_elementwise,
    lift_index,
    lift_matmul,
    lift_norm,
    lift_pool,
    lift_quantized_elementwise,
    lift_quantized_places,
    lift_quantized_products,
    lift_recurrent,
    lift_recurrent_quantized,
    lift_reduce,
    lift_resize,
    lift_shape,
    lift_slice,
    lift_state,
    lift_svdf,
)
from edgert.converters.tflite.lifts import LIFTS, QUANTIZED_LIFTS

__all__ = ["LIFTS", "QUANTIZED_LIFTS"]
