"""The HTML page of `edgert inspect --html`: which weights of each sparse layer are kept, as pictures.

One file that needs nothing else: no script, no style sheet, no font, no image from anywhere. The numbers are
sparsity.py's.
"""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from edgert.cli.sparsity import Layer, together
from edgert.format import Model, StoredTensor
from edgert.graph.ir import Array
from edgert.plan.budget import show_bytes

SIDES = (512, 384, 320, 256, 224, 192, 160, 128, 96, 64, 48, 32)
"""Pixels that a picture may have on its longer side: the most that the budget allows is taken."""
PICTURES = 3_000_000
"""Bytes of all pictures of a page together; base64 makes 4 MB of them."""
LEVELS = 16

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b2733 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .2rem .6rem; border-bottom: 1px solid #e3e8ee }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.name { overflow-wrap: anywhere }
.bar { background: #e3e8ee; width: 9rem; height: .7rem } .bar div { background: #14507a; height: 100% }
.pictures { display: flex; flex-wrap: wrap; gap: 1.5rem } figure { margin: 0; max-width: 100% }
figcaption { font-size: .85rem; max-width: 20rem; overflow-wrap: anywhere }
img { image-rendering: pixelated; border: 1px solid #c4ced8; max-width: 100% }
"""


def page(model: Model, layers: list[Layer], title: str) -> str:
    """The page of `model`, whose layers are `layers`. Names in it may be anything: all are escaped.

    Raises FormatError where sparse weights are damaged.
    """
    return "".join(_page(model, layers, title))


def _page(model: Model, layers: list[Layer], title: str) -> Iterator[str]:
    sparse = [layer for layer in layers if layer.sparse]
    total = together(layers)
    name = html.escape(model.info.name or title)
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    yield "style-src 'unsafe-inline'\">\n"
    yield f"<title>Sparsity of {name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    yield f"<h1>Sparsity of {name}</h1>\n<p>{html.escape(title)}: {len(sparse)} of {len(layers)} layers are sparse. "
    yield f"{100 * total.density:.1f} % of {total.weights:,} weights are stored, in {show_bytes(total.nbytes)}: "
    yield f"{total.bits:.2f} bits per weight.</p>\n"
    yield "<h2>Layers</h2>\n<table>\n<thead><tr><th>layer</th><th>operator</th><th>shape</th><th>encoding</th>"
    yield '<th>pattern</th><th class="number">kept</th><th></th><th class="number">bits per weight</th>'
    yield '<th class="number">stored</th></tr></thead>\n<tbody>\n'
    for layer in layers:
        yield _row(layer)
    yield "</tbody>\n</table>\n"
    if sparse:
        yield "<h2>Which weights are kept</h2>\n<p>A row of a picture is an output, a column an input (of filters: one "
        yield "tap after the other). Dark is kept, white is zero; where a pixel stands for several weights its shade "
        yield 'is the share of them that is not zero.</p>\n<div class="pictures">\n'
        for layer in sparse:
            yield _figure(layer, model.tensors[layer.tensor], PICTURES // len(sparse))
        yield "</div>\n"
    yield "</body>\n</html>\n"


def _row(layer: Layer) -> str:
    percent = f"{100 * layer.density:.1f}"
    return (
        f'<tr><td class="name">{html.escape(layer.layer)}</td><td>{html.escape(layer.operator)}</td>'
        f"<td>{_shape(layer)}</td><td>{html.escape(layer.encoding)}</td><td>{html.escape(layer.pattern)}</td>"
        f'<td class="number">{percent} %</td><td><div class="bar"><div style="width:{percent}%"></div></div></td>'
        f'<td class="number">{layer.bits:.2f}</td><td class="number">{show_bytes(layer.nbytes)}</td></tr>\n'
    )


def _shape(layer: Layer) -> str:
    return " × ".join(map(str, layer.shape))


def _figure(layer: Layer, stored: StoredTensor, budget: int) -> str:
    data, (height, width) = picture(kept(stored), budget)
    zoom = max(1, round(256 / max(height, width)))
    return (
        f'<figure><img src="data:image/png;base64,{base64.b64encode(data).decode()}" width="{zoom * width}" '
        f'height="{zoom * height}" alt="kept weights of {html.escape(layer.layer)}">'
        f"<figcaption>{html.escape(layer.layer)}<br>{_shape(layer)}, {html.escape(layer.pattern)}, "
        f"{100 * layer.density:.1f} % kept</figcaption></figure>\n"
    )


def kept(stored: StoredTensor) -> Array:
    """bool [outputs, inputs]: the weights that are not zero. Filters [N, C, kh, kw] have their taps outside."""
    weights = stored.dense()
    mask: Array = np.moveaxis(weights, 1, -1).reshape(weights.shape[0], -1) != 0
    return mask


def picture(mask: Array, budget: int) -> tuple[bytes, tuple[int, int]]:
    """bool [N, K] as a PNG of the share of True per pixel, dark where it is high, and its (height, width).

    It has as many pixels as `budget` bytes allow, at least those of a longer side of 32.
    """
    for side in SIDES:
        share = downsample(mask, side)
        data = png(np.rint((LEVELS - 1) * share).astype(np.uint8))
        if len(data) <= budget:
            break
    return data, (share.shape[0], share.shape[1])


def downsample(mask: Array, side: int) -> Array:
    """Means of tiles of bool [N, K], so large that neither side has more than `side` pixels.

    Tiles are square, unless one side is so short that it would vanish.
    """
    long, short = max(mask.shape), min(mask.shape)
    share: Array = mask.astype(np.float32)
    for axis, size in enumerate(mask.shape):
        step = -(-(long if long <= 4 * short else size) // side)
        starts = np.arange(0, size, step)
        counts = np.minimum(starts + step, size) - starts
        share = np.add.reduceat(share, starts, axis) / np.expand_dims(counts, 1 - axis)
    return share.astype(np.float32)


def png(levels: Array) -> bytes:
    """uint8 [height, width] of 0..15, white to dark blue, as a PNG file of 4 bits per pixel (PNG specification)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = levels.shape
    even = np.pad(levels, ((0, 0), (0, width % 2)))
    packed = even[:, ::2] << 4 | even[:, 1::2]
    rows = np.pad(packed, ((0, 0), (1, 0)))  # each row starts with its filter: 0, none
    shade = np.linspace(0, 1, LEVELS)[:, None]
    palette = np.rint(255 + shade * (np.array([13, 61, 102]) - 255)).astype(np.uint8)
    header = struct.pack(">2I5B", width, height, 4, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)
