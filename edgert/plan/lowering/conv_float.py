"""Lowering of Conv, float32: what its kernels share, the dense one, and depthwise. Float planes (kp) in and out.

Weights with zeros left out are conv_sparse_f32.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgert.format.model import StoredTensor
from edgert.graph.ir import Array
from edgert.plan.lowering.api import Buffer, Emitter, Offer, Refusal, Site, layout_nbytes, lowers, plane_pixels
from edgert.plan.lowering.conv_geometry import (
    Geometry,
    Planes,
    emit_planes,
    parts_of,
    row_params,
    slices_of,
    tap_offsets,
)
from edgert.plan.lowering.conv_site import (
    DEPTHWISE_SCRATCH,
    bias_of,
    packed,
    padded,
    padded_macs,
    residual_of,
    slope_of,
    too_big,
    vector_pixels,
)
from edgert.plan.lowering.requantize import activation_floats
from edgert.plan.lowering.shapes import split

DEPTHWISE_EFFICIENCY = 0.4
"""Share of the vector unit's peak that 3x3 filters reach on planes as they lie: most loads cross cache lines."""
STACKED = {((k, k), (s, s)) for k in (3, 5) for s in (1, 2)}
"""Kernels and strides that the general depthwise kernel computes in stacks of output rows, STACK at once."""
STACK = 8
FRAME = 8
"""Pixel vectors that a small plane may have between its first and its last rows and still be copied as a whole."""


@dataclass(frozen=True)
class FloatConv:
    """A float Conv that kp planes and packed weights can hold: what the kernels over them share."""

    site: Site
    g: Geometry
    stored: StoredTensor
    planes: Planes | None
    """None where the input is read as it lies."""
    work: int | None = None
    """What an image takes, in multiply-adds of the dense kernel, where zeros are skipped: it decides how many chunks
    are worth their while."""

    @classmethod
    def of(cls, kernel: str, site: Site, encoding: str = "dense", layout: str = "n4k1") -> FloatConv | Refusal:
        """float32, a single group, or groups whose filters are multiples of 4."""
        x, w, y = site.inputs[0], site.inputs[1], site.outputs[0]
        assert x is not None and w is not None
        if x.dtype != "float32":
            return Refusal(kernel, f"computes float32, the input is {x.dtype}")
        g = Geometry.of(site.node, x, w, y)
        if g is None:
            return Refusal(kernel, f"{list(x.shape)}: planes hold [N, C, W] and [N, C, H, W], with borders up to 1 GiB")
        filters = g.filters // g.group
        if g.group > 1 and filters % 4:
            return Refusal(kernel, f"{g.group} groups of {filters} output channels: not multiples of 4")
        stored = packed(site, encoding, layout)
        if stored is None or stored.dtype != "float32":
            what = f"float32 {layout}" if encoding == "dense" else f"{encoding} {layout}"
            return Refusal(kernel, f"weights are not stored as {what}")
        if (slope := slope_of(site)) is not None and site.values[slope] is None:
            return Refusal(kernel, "the slopes of a fused PRelu are no constants")
        conv = cls(site, g, stored, None if g.direct else Planes.of(g, site.level))
        if too_big(conv.x_plane * g.channels, 4 * plane_pixels(g.pixels) * g.filters):
            return Refusal(kernel, "an image's activations exceed 2 GiB")
        return conv

    @property
    def x_plane(self) -> int:
        """Bytes of a channel plane that the kernel reads."""
        return 4 * plane_pixels(self.g.height * self.g.width) if self.planes is None else self.planes.nbytes

    @property
    def group_channels(self) -> int:
        """Input channels of one group of the convolution; group_filters: output channels."""
        return self.g.channels // self.g.group

    @property
    def group_filters(self) -> int:
        return self.g.filters // self.g.group

    @property
    def taps(self) -> Array:
        """int32 [taps * group_channels]: byte offset of every filter tap and channel plane."""
        return tap_offsets(self.g, self.planes, self.group_channels, self.x_plane)

    @property
    def pixels(self) -> int:
        """Pixels of an image that the vectors really compute, dead lanes included."""
        return vector_pixels(self.g, self.site.level, self.ragged)

    @property
    def ragged(self) -> Planes | None:
        """The padded planes where each row of pixels takes vectors of its own; None where all rows are one run."""
        return None if self.planes is None or self.planes.runs_on(self.g) else self.planes

    @property
    def layouts(self) -> tuple[str | None, ...]:
        """Wanted layouts of the inputs."""
        activations = (0, residual_of(self.site))
        return tuple("kp" if i in activations else None for i in range(len(self.site.inputs)))

    @property
    def nbytes(self) -> int:
        x = self.site.inputs[0]
        assert x is not None
        read = layout_nbytes(x, "kp") * (1 if self.planes is None else 3)
        return read + layout_nbytes(self.site.outputs[0], "kp") + self.stored.nbytes

    @property
    def form(self) -> str:
        if self.planes is None:
            return "pointwise"
        return f"{self.g.kernel[0]}x{self.g.kernel[1]} by taps over padded planes"

    def rows(self, rows: int) -> dict[str, int]:
        """Params of geometry, and how the work is cut into `parts` of pixels and `slices` of `rows` output channels."""
        g, threads = self.g, self.site.threads
        params = row_params(g, self.site.level, self.ragged, self.x_plane, g.channels)
        macs = g.macs // max(g.batch, 1) if self.work is None else self.work
        parts = parts_of(threads, params["vectors"], macs)
        slices = slices_of(threads, parts, -(-self.group_filters // rows), macs)
        # one pixel more than whole vectors (7 x 7): tiles of three vectors and four channels take it along
        lanes = self.site.level.vector_bytes // 4
        odd = self.ragged is None and g.pixels == (3 if lanes == 16 else 6) * lanes + 1 and parts == 1 and lanes >= 8
        leftover = int(odd and rows == 4 and self.group_filters % 4 == 0)
        if leftover:
            params["vectors"] = g.pixels // lanes
        batch = params["y_plane"] * g.filters
        return {**params, "parts": parts, "slices": slices, "leftover": leftover, "y_batch": batch}

    def emit(
        self, e: Emitter, inputs: tuple[Buffer | None, ...], output: Buffer, kernel: str,
        own: Mapping[str, tuple[Buffer, int]], params: Mapping[str, int],
    ) -> None:  # fmt: skip
        """One op per group, after the padded copy of the input. own: the kernel's operands besides x, bias, y and
        residual, each with its bytes per group; params: `rows` and what the kernel has besides bounds."""
        g, source = self.g, inputs[0]
        assert source is not None
        if self.planes is not None:
            source, _ = emit_planes(e, g, self.planes, source, g.channels, 0)
        residual, filters = residual_of(self.site), self.group_filters
        low, high = activation_floats(self.site.node)
        numbers, slope = padded(_float_bias(self.site, g.filters), -(-g.filters // 4) * 4), slope_of(self.site)
        slopes = 0 if slope is None else numbers.nbytes
        if slope is not None:
            value = self.site.values[slope]
            assert value is not None
            numbers = np.concatenate([numbers, padded(np.asarray(value, np.float32), len(numbers))])
        operands = {
            "x": source, "bias": e.constant(numbers), "y": output,
            "residual": None if residual is None else inputs[residual],
            **{name: buffer for name, (buffer, _) in own.items()},
        }  # fmt: skip
        plane = params["y_plane"] * filters
        steps = {"x": self.x_plane * self.group_channels, "bias": 4 * filters, "y": plane}
        steps |= {name: step for name, (_, step) in own.items()}
        if residual is not None:
            steps["residual"] = plane
        for i in range(g.group):
            e.op(
                kernel, operands, {**params, "channels": filters, "slopes": slopes, "low": low, "high": high},
                chunks=g.batch * params["parts"] * params["slices"], scratch=48 * self.site.level.vector_bytes,
                offsets={name: step * i for name, step in steps.items()},
            )  # fmt: skip


@lowers("Conv")
def conv_f32(site: Site) -> Offer | Refusal:
    """float32, any groups whose filter counts are multiples of 4 (or a single group)."""
    kernel = "conv2d_f32_kp"
    conv = FloatConv.of(kernel, site)
    if isinstance(conv, Refusal):
        return conv
    g = conv.g

    def emit(e: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        taps = conv.taps
        own = {
            "taps": (e.constant(taps), 0),
            "w": (e.weights(conv.stored, "data"), 4 * len(taps) * conv.group_filters),
        }
        conv.emit(e, inputs, outputs[0], kernel, own, {**conv.rows(4), "blocks": len(taps)})

    return Offer(
        kernel, conv.layouts, ("kp",), padded_macs(g, site.level, conv.ragged, 1), conv.nbytes, "fma32", 0.85,
        f"float {conv.form}: pixels as vectors", emit,
    )  # fmt: skip


def _float_bias(site: Site, filters: int) -> Array:
    index = bias_of(site)
    if index is None:
        return np.zeros(filters, np.float32)
    value = site.values[index]
    assert value is not None
    return np.asarray(value, np.float32)


@lowers("Conv")
def depthwise_f32(site: Site) -> Offer | Refusal:
    """float32, one input channel per filter; any kernel, stride, dilation and multiplier."""
    kernel = "depthwise_f32_kp"
    x, w, y = site.inputs[0], site.inputs[1], site.outputs[0]
    assert x is not None and w is not None
    g = Geometry.of(site.node, x, w, y)
    if g is None or not g.depthwise or x.dtype != "float32":
        return Refusal(kernel, "not a float32 depthwise convolution")
    stored = packed(site, "dense", "row")
    if stored is None or stored.dtype != "float32":
        return Refusal(kernel, "weights are not stored as float32 row")
    bounds = activation_floats(site.node)
    if site.node.attr_int("residual", 0) or slope_of(site) is not None:
        return Refusal(kernel, "residuals and slopes are not fused into depthwise convolutions")
    reach = [(k - 1) * d for k, d in zip(g.kernel, g.dilations, strict=True)]
    lanes = site.level.vector_bytes // 4
    columns = -(-(max(g.out[1], lanes) + reach[1] // g.strides[1]) // 16) * 16
    pitch = 4 * columns * g.strides[1]
    band = max(1, min(g.out[0], (DEPTHWISE_SCRATCH // pitch - reach[0]) // g.strides[0] + 1))
    stack = g.kernel[0] if (g.kernel, g.strides) in STACKED and g.dilations == (1, 1) else 0
    if stack and STACK < band < g.out[0]:
        band -= band % STACK
    taps = np.array(
        [
            ky * g.dilations[0] * pitch
            + 4 * (kx * g.dilations[1] % g.strides[1] * columns + kx * g.dilations[1] // g.strides[1])
            for ky in range(g.kernel[0])
            for kx in range(g.kernel[1])
        ],
        np.int32,
    )

    nbytes = 2 * layout_nbytes(x, "kp") + layout_nbytes(y, "kp")
    macs = g.batch * g.filters * g.out[0] * -(-g.out[1] // lanes) * lanes * len(taps)
    parts = split(site.threads, g.filters, nbytes // g.batch, macs // g.batch)

    def emit(e: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        e.op(
            kernel,
            {"x": inputs[0], "taps": e.constant(taps), "w": e.weights(stored, "data"),
             "bias": e.constant(_float_bias(site, g.filters)), "y": outputs[0]},
            {"channels": g.filters, "multiplier": g.filters // g.channels, "height": g.height, "width": g.width,
             "out_height": g.out[0], "out_width": g.out[1], "top": g.pads[0], "left": g.pads[1],
             "stride_h": g.strides[0], "stride_w": g.strides[1], "kernel": len(taps), "taps_rows": reach[0] + 1,
             "columns": columns, "band_rows": band, "per_row": -(-g.out[1] // lanes), "stack": stack, "parts": parts,
             "x_plane": 4 * plane_pixels(g.height * g.width),
             "y_plane": 4 * plane_pixels(g.pixels), "low": bounds[0], "high": bounds[1]},
            chunks=g.batch * parts,
            scratch=7 * site.level.vector_bytes + ((band - 1) * g.strides[0] + reach[0] + 2) * pitch + 128,
        )  # fmt: skip

    layouts: list[str | None] = ["kp"] + [None] * (len(site.inputs) - 1)
    return Offer(
        kernel, tuple(layouts), ("kp",), macs, nbytes, "fma32", _depthwise_efficiency(g, stack),
        f"float depthwise {g.kernel[0]}x{g.kernel[1]} on channel planes", emit,
    )  # fmt: skip


def _depthwise_efficiency(g: Geometry, stack: int) -> float:
    """Share of the vector unit's peak of the general depthwise kernel: measured on planes that the caches hold."""
    if not stack:
        return 0.35
    if stack == 5:
        return 0.65
    # the copy with the border weighs more against nine taps, and most where rows are few
    return 0.45 if min(g.out) >= 40 else 0.3


@lowers("Conv")
def depthwise3_f32(site: Site) -> list[Offer | Refusal]:
    """float32, one input channel per filter, 3x3 with a border of one and stride 1: no padded copy."""
    kernel = "depthwise3_f32_kp"
    x, w, y = site.inputs[0], site.inputs[1], site.outputs[0]
    assert x is not None and w is not None
    g = Geometry.of(site.node, x, w, y)
    if g is None or not g.depthwise or x.dtype != "float32" or (g.kernel, g.strides) != ((3, 3), (1, 1)):
        return []
    stored = packed(site, "dense", "row")
    if stored is None or stored.dtype != "float32" or site.node.attr_int("residual", 0) or slope_of(site) is not None:
        return []
    if g.filters != g.channels or g.dilations != (1, 1) or tuple(g.pads) != (1, 1, 1, 1):
        return []
    low, high = activation_floats(site.node)
    lanes = site.level.vector_bytes // 4
    vectors, edge = -(-g.pixels // lanes), -(-(g.width + 1) // lanes)
    macs = 9 * g.batch * g.filters * vectors * lanes
    nbytes = layout_nbytes(x, "kp") + layout_nbytes(y, "kp")
    parts = split(site.threads, g.filters, nbytes // g.batch, round(macs / DEPTHWISE_EFFICIENCY) // g.batch)
    second = 4 * (-(-g.width // lanes) + 1) * lanes
    framed = min(vectors, 2 * edge + FRAME) * lanes + 2 * (g.width + 1) + 2 * lanes

    def emit(e: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        e.op(
            kernel,
            {"x": inputs[0], "w": e.weights(stored, "data"), "bias": e.constant(_float_bias(site, g.filters)),
             "y": outputs[0]},
            {"channels": g.filters, "width": g.width, "pixels": g.pixels, "second": second, "parts": parts,
             "x_plane": 4 * plane_pixels(g.pixels), "y_plane": 4 * plane_pixels(g.pixels), "low": low, "high": high},
            chunks=g.batch * parts, scratch=site.level.vector_bytes + 2 * second + 4 * framed,
        )  # fmt: skip

    layouts: list[str | None] = ["kp"] + [None] * (len(site.inputs) - 1)
    return [
        Offer(
            kernel, tuple(layouts), ("kp",), macs, nbytes, "fma32", DEPTHWISE_EFFICIENCY,
            "float depthwise 3x3 on channel planes as they lie", emit,
        )
    ]  # fmt: skip
