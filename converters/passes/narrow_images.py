"""Images one pixel wide, as sound often is, are laid on their side: kernels take the pixels of a row at once.
The Transposes this leaves are for `sink_transposes`, which mostly finds them cancel."""

from __future__ import annotations

from edgert.converters.passes.rewrite import Rewriter
from edgert.graph.ir import Attr, Graph, Node, TensorType

CONVOLUTIONS = ("Conv", "QLinearConv")
POOLS = ("MaxPool", "AveragePool")
ON_ITS_SIDE = (0, 1, 3, 2)
"""[N, C, H, 1] as [N, C, 1, H], and back."""


def narrow_images(graph: Graph) -> Graph:
    """Convolutions and poolings of [N, C, H, 1] with kernels [h, 1] become those of [N, C, 1, H]."""
    rw = Rewriter(graph)
    for node in list(rw.graph.nodes):
        if node.op in CONVOLUTIONS or (node.op in POOLS and len([name for name in node.outputs if name]) == 1):
            lay_down(rw, node)
    return rw.finish()


def lay_down(rw: Rewriter, node: Node) -> None:
    """Turns `node` if its image, its kernel and its result are one pixel wide."""
    x, y = rw.type_of(node.inputs[0]), rw.type_of(node.outputs[0])
    if x is None or y is None or not is_narrow(x) or not is_narrow(y):
        return
    inputs = list(node.inputs)
    if node.op in CONVOLUTIONS:
        weight, kind = rw.constant(node.inputs[1]), rw.type_of(node.inputs[1])
        if weight is None or kind is None or weight.ndim != 4 or weight.shape[3] != 1:
            return
        if kind.quant is not None and kind.quant.axis not in (None, 0):
            return
        inputs[1] = rw.add_constant(f"{node.inputs[1]}_flat", weight.transpose(ON_ITS_SIDE), kind.quant)
    elif node.attr_ints("kernel_shape", [0, 0])[1] != 1:
        return
    attrs = turned(node)
    if node.op in CONVOLUTIONS and node.attr_int("group", 1) > 1:
        # Depthwise kernels want equal strides, and along the one pixel every stride is as good.
        attrs["strides"] = node.attr_ints("strides", [1, 1])[:1] * 2
    inputs[0] = rw.add_tensor(f"{node.inputs[0]}/flat", x.with_shape(flat(x)))
    out = rw.add_tensor(f"{node.outputs[0]}/flat", y.with_shape(flat(y)))
    perm: dict[str, Attr] = {"perm": list(ON_ITS_SIDE)}
    down = Node("Transpose", node.inputs[:1], (inputs[0],), perm, f"{inputs[0]}_transpose")
    up = Node("Transpose", (out,), node.outputs, dict(perm), f"{out}_transpose")
    rw.replace([node], [down, Node(node.op, tuple(inputs), (out,), attrs, node.name), up])


def is_narrow(kind: TensorType) -> bool:
    """[N, C, H, 1] with more than one row, quantized as a whole if at all."""
    whole = kind.quant is None or kind.quant.per_tensor
    return len(kind.shape) == 4 and kind.shape[3] == 1 and kind.shape[2] != 1 and whole


def flat(kind: TensorType) -> tuple[int | str, ...]:
    return tuple(kind.shape[axis] for axis in ON_ITS_SIDE)


def turned(node: Node) -> dict[str, Attr]:
    """The attributes of a window with its two axes exchanged."""
    attrs = dict(node.attrs)
    for key in ("kernel_shape", "strides", "dilations"):
        if key in attrs:
            attrs[key] = node.attr_ints(key, [])[::-1]
    if "pads" in attrs:
        top, left, bottom, right = node.attr_ints("pads", [0] * 4)
        attrs["pads"] = [left, top, right, bottom]
    return attrs
