"""Shape function of ReverseSequence.
What it computes is in `kernels_cpu/reference/reverse.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import merge_dims
from edgert.graph.infer_elementwise import one_of
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, need, operator


@operator("ReverseSequence", inputs=(2, 2))
def reverse_sequence(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x of rank 2 or more and one length, int64 [B], for each index of the batch axis."""
    x, lengths = need(ins[0], "input"), need(ins[1], "sequence_lens")
    rank, time, batch = len(x.shape), node.attr_int("time_axis", 0), node.attr_int("batch_axis", 1)
    check(rank >= 2, "an input of rank 2 or more", x.shape)
    check(-rank <= time < rank and -rank <= batch < rank and time % rank != batch % rank,
          f"time_axis and batch_axis, two axes of {rank}", (time, batch))  # fmt: skip
    one_of(lengths.dtype, ("int64",))
    check(len(lengths.shape) == 1, "sequence_lens of rank 1", lengths.shape)
    merge_dims((x.shape[batch], lengths.shape[0]), "batch (input, sequence_lens)")
    if x.quant is not None:
        check(x.quant.per_tensor, "one scale for the whole input", f"scales along axis {x.quant.axis}")
    return [x]
