"""Lowering of QLinearConv: pointwise, k x k, strided, dilated, grouped and depthwise, to kernels_cpu/conv.

A k x k or strided convolution first copies its input with the border in place, split into stride phases
(`planes_x4`); after that every filter tap is an offset, and all convolutions are one kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgert.format.model import StoredTensor
from edgert.graph.ir import Array
from edgert.kernels_cpu.reference.quantization import ratio
from edgert.plan.lowering.api import (
    Buffer,
    Emitter,
    Offer,
    Refusal,
    Site,
    layout_nbytes,
    lowers,
    plane_pixels,
)
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
    too_big,
    vector_pixels,
)
from edgert.plan.lowering.requantize import activation_bytes, effective_bias, multipliers, zero_point

PEAK = 0.85
"""Share of the vector unit's int8 peak that a block of 4x4 channels reaches over a vector of pixels."""
STORE = {"avx512vnni": 4.5, "avxvnni": 3.8, "avx2": 1.7, "portable": 0.6, "dotprod": 3.3, "neon": 1.0}
"""What requantizing and storing four output channels takes, in such blocks, by the level's symbol: fitted to pointwise
layers of mobile networks on x86, instructions counted on ARM."""
WIDEST = 7
"""Vectors of the widest tile of any level."""
PACKED_BLOCKS = 512
"""Blocks of four input channels and a tap whose vectors a tile copies together first, where the level's kernel does:
56 KiB, about a first-level cache."""
MAX_SUM = 2**31 / (255 * 127)
"""Products that a 32-bit accumulator holds; times the scale it also bounds what rounding must hold."""


@dataclass(frozen=True)
class Int8Conv:
    """A QLinearConv that k4p planes, 32-bit sums and packed weights can hold: what the int8 kernels share."""

    site: Site
    g: Geometry
    stored: StoredTensor
    scales: Array
    planes: Planes | None
    """None where the input is read as it lies."""
    density: float = 1.0
    """Share of the products that a kernel computes: it skips zeros."""

    @classmethod
    def of(cls, kernel: str, site: Site, encoding: str = "q8", layout: str = "n4k4") -> Int8Conv | Refusal:
        """One or more groups of channels that are multiples of 4, with weights in this encoding and layout."""
        x, w, y = site.inputs[0], site.inputs[1], site.outputs[0]
        assert x is not None and w is not None
        g = Geometry.of(site.node, x, w, y)
        if g is None:
            return Refusal(kernel, f"{list(x.shape)}: planes hold [N, C, W] and [N, C, H, W], with borders up to 1 GiB")
        per_group, filters = g.channels // g.group, g.filters // g.group
        if g.group > 1 and (per_group % 4 or filters % 4):
            return Refusal(kernel, f"{g.group} groups of {per_group} -> {filters} channels: not multiples of 4")
        stored = packed(site, encoding, layout)
        if stored is None:
            return Refusal(kernel, f"weights are not stored as {encoding} {layout}")
        scales = multipliers(x, w, y, g.filters)
        if float(scales.max(initial=0.0)) * per_group * g.kernel[0] * g.kernel[1] > MAX_SUM:
            return Refusal(kernel, f"scale {scales.max():g} over {per_group} channels overflows 32 bits")
        conv = cls(site, g, stored, scales, None if g.direct else Planes.of(g, site.level))
        if too_big(conv.x_plane * conv.cells, 4 * plane_pixels(g.pixels) * conv.out_cells):
            return Refusal(kernel, "an image's activations exceed 2 GiB")
        return conv

    @property
    def cells(self) -> int:
        """Groups of four input channels."""
        return -(-self.g.channels // 4)

    @property
    def out_cells(self) -> int:
        return -(-self.g.filters // 4)

    @property
    def group_cells(self) -> int:
        """Groups of four input channels of one group of the convolution; group_out: of its output."""
        return self.cells if self.g.group == 1 else self.g.channels // self.g.group // 4

    @property
    def group_out(self) -> int:
        return self.out_cells if self.g.group == 1 else self.g.filters // self.g.group // 4

    @property
    def x_plane(self) -> int:
        """Bytes of a channel plane that the kernel reads."""
        return 4 * plane_pixels(self.g.height * self.g.width) if self.planes is None else self.planes.nbytes

    @property
    def taps(self) -> Array:
        """int32 [taps * group_cells]: byte offset of every filter tap and channel plane."""
        return tap_offsets(self.g, self.planes, self.group_cells, self.x_plane)

    @property
    def pixels(self) -> int:
        """Pixels of an image that the vectors really compute, dead lanes included."""
        return vector_pixels(self.g, self.site.level, self.planes)

    @property
    def parts(self) -> int:
        """Chunks of an image by pixels."""
        vectors = row_params(self.g, self.site.level, self.planes, self.x_plane, self.cells)["vectors"]
        return parts_of(self.site.threads, vectors, self._image_macs)

    @property
    def slices(self) -> int:
        """Chunks of such a part by output channels."""
        return slices_of(self.site.threads, self.parts, self.group_out, self._image_macs)

    @property
    def _image_macs(self) -> int:
        return round(self.density * self.g.macs / max(self.g.batch, 1))

    @property
    def layouts(self) -> tuple[str | None, ...]:
        """Wanted layouts of the inputs."""
        activations = (0, residual_of(self.site))
        return tuple("k4p" if i in activations else None for i in range(len(self.site.inputs)))

    @property
    def nbytes(self) -> int:
        x = self.site.inputs[0]
        assert x is not None
        read = layout_nbytes(x, "k4p") * (1 if self.planes is None else 3)
        return read + layout_nbytes(self.site.outputs[0], "k4p") + self.stored.nbytes

    @property
    def form(self) -> str:
        if self.planes is None:
            return "pointwise"
        return f"{self.g.kernel[0]}x{self.g.kernel[1]} by taps over padded planes"

    @property
    def bias(self) -> Array:
        """int32, what the sum of every filter starts at; padded to whole groups of four filters."""
        return padded(effective_bias(self.site, self.stored, bias_of(self.site)), 4 * self.out_cells)

    @property
    def multipliers(self) -> Array:
        """float32, steps of the output per unit of every filter's sum; padded likewise."""
        return padded(self.scales, 4 * self.out_cells)

    def per_filter(self, e: Emitter) -> dict[str, tuple[Buffer, int]]:
        """Operands `bias` and `scale` for `emit`."""
        step = 16 * self.group_out
        return {"bias": (e.constant(self.bias), step), "scale": (e.constant(self.multipliers), step)}

    def emit(
        self, e: Emitter, inputs: tuple[Buffer | None, ...], output: Buffer, kernel: str,
        own: Mapping[str, tuple[Buffer, int]], params: Mapping[str, int | float], slices: int, scratch: int,
    ) -> None:  # fmt: skip
        """One op per group, after the padded copy of the input. own: the kernel's operands besides x, y and residual,
        each with its bytes per group; params: all but geometry and quantization; slices: of the output channels."""
        g, site, y = self.g, self.site, self.site.outputs[0]
        x, source = site.inputs[0], inputs[0]
        assert x is not None and source is not None
        if self.planes is not None:
            zero = zero_point(x, site.level) & 255
            border = int(np.array([zero * 0x01010101], np.uint32).view(np.int32)[0])
            source, _ = emit_planes(e, g, self.planes, source, self.cells, border)
        rows = row_params(g, site.level, self.planes, self.x_plane, self.cells)
        parts = self.parts
        low, high = activation_bytes(site.node, y, site.level)
        params = {
            **rows, "slices": slices, "parts": parts, "y_batch": rows["y_plane"] * self.out_cells,
            "zero_point": zero_point(y, site.level), "low": low, "high": high, "residual_zero": 0,
            "residual_scale": 0.0, **params,
        }  # fmt: skip
        operands = {"x": source, "y": output, "residual": None, **{name: buffer for name, (buffer, _) in own.items()}}
        residual = residual_of(site)
        if residual is not None:
            r = site.inputs[residual]
            assert r is not None and r.quant is not None and y.quant is not None
            operands["residual"] = inputs[residual]
            params["residual_zero"] = zero_point(r, site.level)
            params["residual_scale"] = float(ratio((r.quant.scale,), y.quant.scale))
        plane = rows["y_plane"] * self.group_out
        steps = {"x": self.x_plane * self.group_cells, "y": plane, **{name: step for name, (_, step) in own.items()}}
        if residual is not None:
            steps["residual"] = plane
        for i in range(g.group):
            offsets = {name: step * i for name, step in steps.items()}
            e.op(kernel, operands, params, chunks=g.batch * parts * slices, scratch=scratch, offsets=offsets)


@lowers("QLinearConv")
def conv_q8(site: Site) -> Offer | Refusal:
    """int8, one or more groups of channels that are multiples of 4."""
    kernel = "conv2d_q8_k4p"
    conv = Int8Conv.of(kernel, site)
    if isinstance(conv, Refusal):
        return conv

    def emit(e: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        taps = conv.taps
        own = {
            "taps": (e.constant(taps), 0), "w": (e.weights(conv.stored, "data"), 16 * len(taps) * conv.group_out),
            **conv.per_filter(e),
        }  # fmt: skip
        packed = "neon" in site.level.features and len(taps) <= PACKED_BLOCKS
        params = {"blocks": len(taps), "packed": int(packed), "groups4": conv.group_out}
        aside = len(taps) + len(taps) % 2 if packed else 0  # an odd block may take two vectors
        scratch = WIDEST * site.level.vector_bytes * (1 + aside)
        conv.emit(e, inputs, outputs[0], kernel, own, params, conv.slices, scratch)

    macs, blocks = padded_macs(conv.g, site.level, conv.planes, 4), len(conv.taps)
    efficiency = PEAK * blocks / (blocks + STORE[site.level.symbol])
    return Offer(
        kernel, conv.layouts, ("k4p",), macs, conv.nbytes, "dot8", efficiency,
        f"int8 {conv.form}: dense 4x4 blocks, pixels as vectors", emit,
    )  # fmt: skip


@lowers("QLinearConv")
def depthwise_q8(site: Site) -> Offer | Refusal:
    """int8, one filter per channel, stride 1 or 2."""
    kernel = "depthwise_q8_k4p"
    x, w, y = site.inputs[0], site.inputs[1], site.outputs[0]
    assert x is not None and w is not None
    g = Geometry.of(site.node, x, w, y)
    if g is None or not g.depthwise or g.filters != g.channels:
        return Refusal(kernel, "not depthwise with one filter per channel")
    if g.strides[0] != g.strides[1] or g.strides[0] > 2 or g.dilations != (1, 1):
        return Refusal(
            kernel, f"strides {g.strides}, dilations {g.dilations}: wants equal strides 1 or 2, no dilation"
        )  # fmt: skip
    stored = packed(site, "q8", "dw4")
    if stored is None:
        return Refusal(kernel, "weights are not stored as q8 dw4")
    if site.node.attr_int("residual", 0):
        return Refusal(kernel, "a residual is not fused into depthwise convolutions")
    scales = multipliers(x, w, y, g.filters)
    if float(scales.max(initial=0.0)) * g.kernel[0] * g.kernel[1] > MAX_SUM:
        return Refusal(kernel, f"scale {scales.max():g} overflows 32 bits")
    cells, stride, blocks = -(-g.channels // 4), g.strides[0], -(-g.kernel[1] // 4)
    lanes = site.level.vector_bytes // 4
    unit = 64 if lanes > 4 else 16
    pitch = -(-4 * ((max(g.out[1], lanes) - 1) * stride + 4 * blocks) // unit) * unit
    band = max(1, min(g.out[0], (DEPTHWISE_SCRATCH // pitch - g.kernel[0]) // stride + 1))

    def emit(e: Emitter, inputs: tuple[Buffer | None, ...], outputs: tuple[Buffer, ...]) -> None:
        low, high = activation_bytes(site.node, y, site.level)
        zero = zero_point(x, site.level) & 255
        e.op(
            kernel,
            {"x": inputs[0], "w": e.weights(stored, "data"), "y": outputs[0],
             "bias": e.constant(padded(effective_bias(site, stored, bias_of(site)), 4 * cells)),
             "scale": e.constant(padded(scales, 4 * cells))},
            {"groups4": cells, "height": g.height, "width": g.width, "out_height": g.out[0], "out_width": g.out[1],
             "top": g.pads[0], "left": g.pads[1], "stride": stride, "kernel_rows": g.kernel[0], "blocks": blocks,
             "pitch": pitch, "band_rows": band,
             "border": int(np.array([zero * 0x01010101], np.uint32).view(np.int32)[0]),
             "x_plane": 4 * plane_pixels(g.height * g.width), "y_plane": 4 * plane_pixels(g.pixels),
             "zero_point": zero_point(y, site.level), "low": low, "high": high},
            chunks=g.batch * cells, scratch=((band - 1) * stride + g.kernel[0] + 1) * pitch + 128,
        )  # fmt: skip

    layouts: list[str | None] = ["k4p"] + [None] * (len(site.inputs) - 1)
    nbytes = 2 * layout_nbytes(x, "k4p") + layout_nbytes(y, "k4p")
    macs = g.batch * cells * 4 * g.out[0] * -(-g.out[1] // lanes) * lanes * g.kernel[0] * blocks * 4
    return Offer(
        kernel, tuple(layouts), ("k4p",), macs, nbytes, "dot8", 0.35,
        f"int8 depthwise {g.kernel[0]}x{g.kernel[1]} in NC4HW4: no layout change", emit,
    )  # fmt: skip
