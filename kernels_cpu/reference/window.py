"""Sliding windows: resolving kernel, strides, dilations and pads of convolutions and poolings.
Shape functions and reference operators both stand on this; nothing here reads tensor values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from edgert.errors import UnsupportedError

MAX_PADDED, MAX_GROWTH = 1 << 24, 64
"""Positions of an image with its padding, or times those of the image, whichever is more: padded images are made, and
a few bytes may ask for terabytes around four pixels."""

AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True)
class Window:
    """A resolved window, one int per spatial axis: pads `before` and `after`, `out` positions."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """Input positions a dilated kernel spans."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def overhang(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """Positions past the padded input that the last window reads (ceil_mode), at least 0."""
        last = zip(self.out, self.strides, self.extent, self.before, self.after, spatial, strict=True)
        return tuple(max(0, (o - 1) * s + e - (b + a + n)) for o, s, e, b, a, n in last)

    def taps(self) -> Iterator[tuple[slice, ...]]:
        """For each kernel value, row-major: the part of the padded input it meets, as one slice per axis."""
        for tap in product(*(range(k) for k in self.kernel)):
            starts = [t * d for t, d in zip(tap, self.dilations, strict=True)]
            steps = zip(starts, self.out, self.strides, strict=True)
            yield tuple(slice(a, a + (o - 1) * s + 1 if o else a, s) for a, o, s in steps)


def sized(attrs: Mapping[str, Any], key: str, rank: int, default: int, least: int) -> tuple[int, ...]:
    """Integer list attribute of length `rank`, every value >= `least`. Raises UnsupportedError."""
    values = tuple(int(v) for v in (attrs.get(key) or [default] * rank))
    if len(values) != rank or any(v < least for v in values):
        raise UnsupportedError(f"expected {rank} values >= {least} in attribute {key}, found {list(values)}")
    return values


def auto_pad_of(attrs: Mapping[str, Any]) -> str:
    """Attribute auto_pad. Raises UnsupportedError for an unknown one."""
    mode = str(attrs.get("auto_pad") or "NOTSET")
    if mode not in AUTO_PADS:
        raise UnsupportedError(f"expected auto_pad one of {AUTO_PADS}, found {mode!r}")
    return mode


def split_padding(total: int, mode: str) -> tuple[int, int]:
    """(before, after) of `total`: SAME_LOWER puts the odd one before, all others after."""
    small = total // 2
    return (total - small, small) if mode == "SAME_LOWER" else (small, total - small)


def check_padded(padded: Sequence[int], spatial: Sequence[int]) -> None:
    """Raises UnsupportedError where an image of sizes `spatial` is padded past all use."""
    most = max(MAX_PADDED, MAX_GROWTH * prod(spatial))
    if prod(padded) > most:
        raise UnsupportedError(f"expected a padded image of at most {most} positions, found sizes {list(padded)}")


def window(spatial: Sequence[int], kernel: Sequence[int], attrs: Mapping[str, Any]) -> Window:
    """Resolves `strides, dilations, pads, auto_pad, ceil_mode` of a convolution or pooling.

    Source: ONNX Conv, MaxPool. In ceil_mode a last window that would start past the input and its leading
    pad is dropped. Raises UnsupportedError when a value is out of range or the window does not fit.
    """
    rank = len(spatial)
    kernel = tuple(int(k) for k in kernel)
    if len(kernel) != rank or any(k < 1 for k in kernel):
        raise UnsupportedError(f"expected a kernel of {rank} sizes >= 1, found {list(kernel)}")
    strides = sized(attrs, "strides", rank, 1, least=1)
    dilations = sized(attrs, "dilations", rank, 1, least=1)
    mode, ceil = auto_pad_of(attrs), bool(attrs.get("ceil_mode", 0))
    pads = sized(attrs, "pads", 2 * rank, 0, least=0) if mode == "NOTSET" else (0,) * (2 * rank)
    before, after, out = list(pads[:rank]), list(pads[rank:]), []
    for i, (n, k, s, d) in enumerate(zip(spatial, kernel, strides, dilations, strict=True)):
        extent = (k - 1) * d + 1
        if mode.startswith("SAME"):
            count = -(-n // s)
            before[i], after[i] = split_padding(max((count - 1) * s + extent - n, 0), mode)
            out.append(count)
            continue
        room = n + before[i] + after[i] - extent
        if room < 0:
            raise UnsupportedError(
                f"expected a padded input of at least {extent} along spatial axis {i}, found {room + extent}"
            )
        count = (-(-room // s) if ceil else room // s) + 1
        if ceil and (count - 1) * s >= n + before[i]:
            count -= 1
        out.append(count)
    check_padded([b + n + a for b, n, a in zip(before, spatial, after, strict=True)], spatial)
    return Window(kernel, strides, dilations, tuple(before), tuple(after), tuple(out))


def transposed_window(spatial: Sequence[int], kernel: Sequence[int], attrs: Mapping[str, Any]) -> Window:
    """Resolves a ConvTranspose: as `window`, with `output_padding` and `output_shape`.

    `before`, `after` are cropped from the full result of size stride*(in-1) + extent + output_padding, and
    `out` is the size of what remains. Source: ONNX ConvTranspose, Attributes pads and output_shape.
    """
    rank = len(spatial)
    strides = sized(attrs, "strides", rank, 1, least=1)
    dilations = sized(attrs, "dilations", rank, 1, least=1)
    extra = sized(attrs, "output_padding", rank, 0, least=0)
    mode = auto_pad_of(attrs)
    full = [
        s * (n - 1) + e + (k - 1) * d + 1
        for n, k, s, d, e in zip(spatial, kernel, strides, dilations, extra, strict=True)
    ]
    pads = sized(attrs, "pads", 2 * rank, 0, least=0) if mode == "NOTSET" else (0,) * (2 * rank)
    before, after = list(pads[:rank]), list(pads[rank:])
    if attrs.get("output_shape"):
        out = list(sized(attrs, "output_shape", rank, 0, least=1))
    elif mode.startswith("SAME"):
        out = [n * s for n, s in zip(spatial, strides, strict=True)]
    else:
        out = [f - b - a for f, b, a in zip(full, before, after, strict=True)]
    if attrs.get("output_shape") or mode.startswith("SAME"):
        for i in range(rank):
            # The specification gives the odd one to the end for SAME_UPPER and to the start otherwise.
            kind = "SAME_UPPER" if mode == "SAME_UPPER" else "SAME_LOWER"
            before[i], after[i] = split_padding(max(full[i] - out[i], 0), kind)
    if any(o < 1 for o in out) or any(n < 1 for n in spatial):
        raise UnsupportedError(f"expected output sizes >= 1, found {out} for an input of {list(spatial)}")
    check_padded(full, out)
    return Window(tuple(kernel), strides, dilations, tuple(before), tuple(after), tuple(out))
