"""How convolution kernels cut an image into chunks and rows. Shared by the conv sources."""

from __future__ import annotations

from edgert.kernels_cpu.simd import helper, udiv


@helper
def row_geometry(chunk, parts, total):  # type: ignore[no-untyped-def]
    """(image, first, last): chunk number -> image, and its share [first, last) of `total` items cut in `parts`."""
    image = udiv(chunk, parts)
    part = chunk - image * parts
    return image, udiv(total * part, parts), udiv(total * (part + 1), parts)
