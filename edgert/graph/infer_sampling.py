"""Shape functions of sampling at positions that are computed: GridSample, AffineGrid, DeformConv, pooled regions.
What they compute is in `kernels_cpu/reference/sampling.py` and `regions.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import constant_ints, merge_dims, not_quantized, same_dtype
from edgert.graph.infer_conv import check_same_shape, windowed
from edgert.graph.infer_elementwise import FLOATS, one_of, present
from edgert.graph.ir import Array, Dim, Node, TensorType
from edgert.graph.registry import check, need, operator
from edgert.kernels_cpu.reference.regions import COORDINATES, POOLINGS
from edgert.kernels_cpu.reference.resize import choice
from edgert.kernels_cpu.reference.sampling import MODES, PADDINGS


@operator("GridSample", inputs=(2, 2))
def grid_sample(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x [B, C, *S] at grid [B, *P, r], r = len(S), to [B, C, *P]."""
    x, grid = present(ins)
    not_quantized(x, grid)
    choice(node.attrs, "mode", MODES)
    choice(node.attrs, "padding_mode", PADDINGS)
    one_of(x.dtype, FLOATS)
    one_of(grid.dtype, FLOATS)
    rank = len(x.shape) - 2
    check(rank >= 1 and len(grid.shape) == rank + 2, f"a grid of rank {len(x.shape)}, at least 3", grid.shape)
    check(grid.shape[-1] in (rank, str(grid.shape[-1])), f"{rank} coordinates per position", grid.shape[-1])
    batch = merge_dims((x.shape[0], grid.shape[0]), "the batch (input, grid)")
    check(0 not in x.shape[2:], "at least one value to sample", f"shape {x.shape}")
    return [TensorType(x.dtype, (batch, x.shape[1], *grid.shape[1:-1]))]


@operator("AffineGrid", inputs=(2, 2))
def affine_grid(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """theta [B, r, r + 1] and the value of size [B, C, *S], r = len(S) = 2 or 3, to [B, *S, r]."""
    theta, _ = present(ins)
    not_quantized(theta)
    size = constant_ints(consts[1], "size")
    rank = len(size) - 2
    check(rank in (2, 3) and all(n >= 1 for n in size), "a size [B, C, H, W] or [B, C, D, H, W]", size)
    check_same_shape((size[0], rank, rank + 1), theta.shape, "theta")
    return [TensorType(one_of(theta.dtype, FLOATS), (size[0], *size[2:], rank))]


@operator("DeformConv", inputs=(3, 5))
def deform_conv(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x [B, C, *S], w [N, C / group, *K], offset [B, offset_group * prod(K) * r, *out], bias [N],
    mask [B, offset_group * prod(K), *out] to [B, N, *out], r = len(S)."""
    x, w = need(ins[0], "x"), need(ins[1], "w")
    types = [t for t in ins if t is not None]
    not_quantized(*types)
    kernel, group, shared = w.static_shape, node.attr_int("group", 1), node.attr_int("offset_group", 1)
    check(len(kernel) == len(x.shape) >= 3, "an input and weights of one rank, 3 or more", (x.shape, kernel))
    check(group >= 1 and kernel[0] % group == 0, "group >= 1 that divides the filters", f"{group}, {kernel[0]}")
    channels = merge_dims((kernel[1] * group, x.shape[1]), "channels (weights x group, input)")
    whole = shared >= 1 and isinstance(channels, int) and channels % shared == 0
    check(whole, f"offset_group that divides {channels} channels", shared)
    given = tuple(node.attr_ints("kernel_shape", list(kernel[2:])))
    check(given == kernel[2:], f"kernel_shape {kernel[2:]} as in the weights", given)
    out = windowed(x.shape[2:], kernel[2:], node)
    taps = shared
    for size in kernel[2:]:
        taps *= size
    check_same_shape((x.shape[0], taps * (len(kernel) - 2), *out), need(ins[2], "offset").shape, "offsets")
    optional: list[tuple[int, tuple[Dim, ...], str]] = [
        (3, (kernel[0],), "a bias"), (4, (x.shape[0], taps, *out), "a mask"),
    ]  # fmt: skip
    for at, shape, what in optional:
        other = ins[at] if at < len(ins) else None
        if other is not None:
            check_same_shape(shape, other.shape, what)
    return [TensorType(one_of(same_dtype(*types), FLOATS), (x.shape[0], kernel[0], *out))]


def _regions(x: TensorType, rois: TensorType, columns: int) -> None:
    """Checks x [B, C, H, W] and rois [R, columns]."""
    not_quantized(x, rois)
    one_of(same_dtype(x, rois), FLOATS)
    check(len(x.shape) == 4, "an input of rank 4", f"shape {x.shape}")
    check(0 not in x.shape, "at least one value to sample", f"shape {x.shape}")
    check_same_shape(("rois", columns), rois.shape, "regions")


@operator("RoiAlign", inputs=(3, 3))
def roi_align(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x [B, C, H, W], rois [R, 4], int batch_indices [R] to [R, C, output_height, output_width]."""
    x, rois, indices = present(ins)
    _regions(x, rois, 4)
    one_of(indices.dtype, ("int64", "int32"))
    check_same_shape(rois.shape[:1], indices.shape, "batch indices")
    choice(node.attrs, "mode", POOLINGS)
    choice(node.attrs, "coordinate_transformation_mode", COORDINATES)
    size = (node.attr_int("output_height", 1), node.attr_int("output_width", 1))
    check(min(size) >= 1, "output_height and output_width >= 1", size)
    check(node.attr_int("sampling_ratio", 0) >= 0, "sampling_ratio >= 0", node.attr_int("sampling_ratio", 0))
    return [TensorType(x.dtype, (rois.shape[0], x.shape[1], *size))]


@operator("MaxRoiPool", inputs=(2, 2))
def max_roi_pool(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """x [B, C, H, W], rois [R, 5] (batch index first) to [R, C, *pooled_shape]."""
    x, rois = present(ins)
    _regions(x, rois, 5)
    size = node.attr_ints("pooled_shape", [])
    check(len(size) == 2 and min(size) >= 1, "pooled_shape of two sizes >= 1", size)
    return [TensorType(x.dtype, (rois.shape[0], x.shape[1], *size))]
