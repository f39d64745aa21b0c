"""float32 convolution over channel planes (kp) with weights in blocks of 2 output channels, absent ones skipped."""

from __future__ import annotations

from edgert.kernels_cpu.conv.sparse_f32 import WIDE2, blocks_of, sparse_convolution

_run = sparse_convolution(blocks_of(2), 2, WIDE2)


def conv2d_b2x1(record, chunk, scratch):  # type: ignore[no-untyped-def]
    """A chunk is a range of pixel vectors of one image and a slice of the pairs of output channels."""
    _run(record, chunk, scratch)
