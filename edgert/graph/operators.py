"""Every operator edgert knows: importing this module fills `OPERATORS` from the `infer_*` families.
What an operator computes is in `kernels_cpu/reference/`, under the same name."""

from edgert.graph import (  # noqa: F401  (each import registers a family)
    infer_activation,
    infer_attention,
    infer_control,
    infer_conv,
    infer_detection,
    infer_elementwise,
    infer_glu,
    infer_linear_attention,
    infer_matmul,
    infer_mediapipe,
    infer_narrow,
    infer_neurons,
    infer_norm,
    infer_pool,
    infer_quantized,
    infer_recurrent,
    infer_recurrent_tflite,
    infer_reduce,
    infer_resize,
    infer_reverse,
    infer_sampling,
    infer_select,
    infer_selection,
    infer_shape,
    infer_signal,
    infer_text,
)
from edgert.graph.registry import OPERATORS, Operator

__all__ = ["OPERATORS", "Operator"]
