"""Windows over images: sizes and pads as ONNX defines them, and those past all use."""

from __future__ import annotations

from typing import Any

import pytest

from edgert.errors import UnsupportedError
from edgert.kernels_cpu.reference.window import MAX_PADDED, transposed_window, window


@pytest.mark.parametrize(
    ("attrs", "before", "after", "out"),
    [
        ({}, 0, 0, 5),
        ({"strides": [2]}, 0, 0, 3),
        ({"strides": [2], "auto_pad": "SAME_UPPER"}, 1, 1, 4),
        ({"strides": [3], "auto_pad": "SAME_UPPER"}, 1, 1, 3),
        ({"dilations": [2], "auto_pad": "SAME_LOWER"}, 2, 2, 7),
        ({"pads": [1, 2], "strides": [3]}, 1, 2, 3),
        ({"strides": [3], "ceil_mode": 1}, 0, 0, 3),
        ({"strides": [5], "ceil_mode": 1, "pads": [0, 2]}, 0, 2, 2),
    ],
)
def test_positions(attrs: dict[str, Any], before: int, after: int, out: int) -> None:
    """A kernel of 3 over 7 values."""
    win = window([7], [3], attrs)
    assert (win.before, win.after, win.out) == ((before,), (after,), (out,))


def test_a_last_window_past_the_input() -> None:
    win = window([7], [3], {"strides": [3], "ceil_mode": 1})
    assert win.overhang([7]) == (2,)
    assert [taps[0] for taps in window([7], [3], {"strides": [2]}).taps()] == [
        slice(0, 5, 2), slice(1, 6, 2), slice(2, 7, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kernel", "attrs", "match"),
    [
        ([0], {}, "sizes >= 1"),
        ([3, 3], {}, "kernel of 1"),
        ([3], {"strides": [0]}, "values >= 1 in attribute strides"),
        ([3], {"dilations": [-1]}, "values >= 1 in attribute dilations"),
        ([3], {"pads": [-1, 0]}, "values >= 0 in attribute pads"),
        ([3], {"pads": [1]}, "2 values"),
        ([3], {"auto_pad": "SAME"}, "auto_pad one of"),
        ([9], {}, "padded input of at least 9"),
        ([3], {"pads": [MAX_PADDED, 0]}, "padded image of at most"),
        ([1 << 30], {"auto_pad": "SAME_UPPER"}, "padded image of at most"),
        ([3], {"auto_pad": "SAME_UPPER", "dilations": [1 << 30]}, "padded image of at most"),
    ],
)
def test_what_does_not_fit_is_refused(kernel: list[int], attrs: dict[str, Any], match: str) -> None:
    with pytest.raises(UnsupportedError, match=match):
        window([7], kernel, attrs)


def test_padding_may_be_large_where_the_image_is() -> None:
    assert window([MAX_PADDED], [3], {"pads": [MAX_PADDED, 0]}).out == (2 * MAX_PADDED - 2,)


def test_transposed_windows_crop_what_they_made() -> None:
    win = transposed_window([3], [3], {"strides": [2], "pads": [1, 0]})
    assert (win.before, win.after, win.out) == ((1,), (0,), (6,))
    with pytest.raises(UnsupportedError, match="padded image of at most"):  # made whole, and cropped to a few values
        transposed_window([3], [3], {"strides": [1 << 30], "pads": [1 << 30, 1 << 30]})
    with pytest.raises(UnsupportedError, match="output sizes >= 1"):
        transposed_window([3], [3], {"pads": [4, 4]})
