"""Every operator edgert knows: importing this module fills `OPERATORS` from the `infer_*` families.
What an operator computes is in `kernels_cpu/reference/`, under the same name."""

from edgert.graph import (  # noqa: F401  (each import registers a family)
    infer_activation,
    infer_attention,
    infer_control,
    infer_conv,
    infer_elementwise,
    infer_glu,
    infer_matmul,
    infer_norm,
    infer_pool,
    infer_quantized,
    infer_reduce,
    infer_resize,
    infer_select,
    infer_shape,
)
from edgert.graph.registry import OPERATORS, Operator

__all__ = ["OPERATORS", "Operator"]
