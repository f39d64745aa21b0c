"""The meaning of every operator, in plain NumPy: what fast kernels are tested against.
One family per module; nothing here is meant to be fast, and no layout but row-major exists."""

from edgert.kernels_cpu.reference import (  # noqa: F401  (each import registers a family)
    activation,
    attention,
    conv,
    detection,
    elementwise,
    glu,
    linear_attention,
    logic,
    matmul,
    mediapipe,
    narrow,
    neurons,
    norm,
    pool,
    quantized,
    recurrent,
    recurrent_tflite,
    reduce,
    regions,
    resize,
    reverse,
    sampling,
    select,
    shape,
    signal,
    text,
    unique,
)
from edgert.kernels_cpu.reference.registry import REFERENCE, Array, Call, Quant, evaluate, reference

__all__ = ["REFERENCE", "Array", "Call", "Quant", "evaluate", "reference"]
