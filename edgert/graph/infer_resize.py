"""Shape function of Resize. How sizes follow from scales is in `kernels_cpu/reference/resize.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.errors import UnsupportedError
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, need, need_const, operator
from edgert.kernels_cpu.reference.resize import resized


@operator("Resize", inputs=(1, 4))
def resize(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Scales or sizes must be constant. A named size that is resized must be bound; one with scale 1 stays."""
    x = need(ins[0], "X")
    check(not node.attr_int("antialias", 0), "antialias 0", "1; resize without it")
    mode = node.attr_str("mode", "nearest")
    check(x.quant is None or mode == "nearest", "mode nearest for quantized tensors", mode)
    given = [
        need_const(consts[i], ("", "", "scales", "sizes")[i]) for i in (2, 3) if i < len(ins) and ins[i] is not None
    ]
    scales = consts[2] if len(ins) > 2 and ins[2] is not None and consts[2] is not None and consts[2].size else None
    sizes = consts[3] if len(ins) > 3 and ins[3] is not None else None
    check(bool(given), "constant scales or sizes", "neither")
    if x.is_static:
        out, _ = resized(x.static_shape, node.attrs, scales, sizes)
        return [x.with_shape(tuple(out))]
    axes = [a % len(x.shape) for a in node.attr_ints("axes", list(range(len(x.shape))))]
    dims = list(x.shape)
    for place, axis in enumerate(axes):
        size = dims[axis]
        if scales is not None:
            factor = float(scales[place])
            if isinstance(size, int):
                dims[axis] = int(size * factor)
            elif factor != 1.0:
                raise UnsupportedError(f"expected a bound size to resize, found {size!r}; bind it with shapes={{...}}")
        elif sizes is not None:
            dims[axis] = int(sizes[place])
    return [x.with_shape(tuple(dims))]
