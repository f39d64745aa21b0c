"""Shape function of gated linear units: the last axis is halved.
What they compute is in `kernels_cpu/reference/glu.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import known_size, not_quantized
from edgert.graph.infer_elementwise import FLOATS, one_of, present
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, operator
from edgert.kernels_cpu.reference.glu import GLU_ACTIVATIONS


@operator("GLU", inputs=(1, 1))
def glu(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """[..., 2F] to [..., F], floats."""
    (x,) = present(ins)
    not_quantized(x)
    kind = node.attr_str("activation", "Silu")
    check(kind in GLU_ACTIVATIONS, f"a GLU activation among {', '.join(GLU_ACTIVATIONS)}", repr(kind))
    check(len(x.shape) >= 1, "an input of rank 1 or more", "a scalar")
    width = known_size(x.shape[-1], "size of the last axis")
    check(width % 2 == 0, "an even last axis", width)
    return [TensorType(one_of(x.dtype, FLOATS), (*x.shape[:-1], width // 2))]
