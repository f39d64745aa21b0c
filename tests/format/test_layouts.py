"""Every layout on odd shapes: pack and unpack are inverse, and the order is the one of docs/format.md."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from edgert.errors import FormatError
from edgert.format import layouts

SIZES = (0, 1, 3, 4, 5, 15, 16, 17)
CONV = [(n, c, h, w) for n, c in product(SIZES, SIZES) for h, w in ((1, 1), (3, 3), (5, 4), (0, 1))]
DEPTHWISE = [(c, 1, h, w) for c, h, w in product(SIZES, (1, 3), SIZES)]
MATRIX = list(product(SIZES, SIZES))
CASES = {"n4k4": CONV, "n4k1": CONV, "dw4": DEPTHWISE, "n16k4": MATRIX, "n16k1": MATRIX}


def random(shape: tuple[int, ...], layout: str) -> np.ndarray[Any, Any]:
    dtype = layouts.BLOCKED[layout].dtypes[0]
    return np.random.default_rng(1).integers(1, 100, shape).astype(dtype)


@pytest.mark.parametrize("layout", layouts.BLOCKED)
def test_pack_and_unpack_are_inverse(layout: str) -> None:
    for shape in CASES[layout]:
        array = random(shape, layout)
        packed = layouts.pack(array, layout)
        assert packed.shape == layouts.packed_shape(layout, array.dtype.name, shape)
        assert packed.flags.c_contiguous and packed.dtype == array.dtype
        np.testing.assert_array_equal(layouts.unpack(packed, layout, shape), array, strict=True)
        assert layouts.padding_is_zero(packed, layout, shape)
        assert np.count_nonzero(packed) == array.size  # all else is zero


def naive(array: np.ndarray[Any, Any], layout: str) -> np.ndarray[Any, Any]:
    """The table of rule F29, element by element."""
    shape = layouts.packed_shape(layout, array.dtype.name, array.shape)
    packed = np.zeros(shape, array.dtype)
    for index in np.ndindex(*array.shape):
        if layout in ("n16k4", "n16k1"):
            n, k = index
            place = (n // 16, k // 4, n % 16, k % 4) if layout == "n16k4" else (n // 16, k, n % 16)
        else:
            n, c, h, w = index
            pixel = h * array.shape[3] + w
            place = {
                "n4k4": (n // 4, pixel, c // 4, n % 4, c % 4),
                "n4k1": (n // 4, pixel, c, n % 4),
                "dw4": (n // 4, h, w // 4, n % 4, w % 4),
            }[layout]
        packed[place] = array[index]
    return packed


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        ("n4k4", (6, 5, 2, 3)),
        ("n4k1", (6, 5, 2, 3)),
        ("dw4", (6, 1, 3, 5)),
        ("n16k4", (18, 6)),
        ("n16k1", (18, 6)),
    ],
)
def test_the_order_is_the_documented_one(layout: str, shape: tuple[int, ...]) -> None:
    array = np.arange(1, np.prod(shape) + 1).reshape(shape).astype(random((1,) * len(shape), layout).dtype)
    np.testing.assert_array_equal(layouts.pack(array, layout), naive(array, layout), strict=True)


@pytest.mark.parametrize("layout", layouts.BLOCKED)
def test_each_padding_value_is_noticed(layout: str) -> None:
    shape = {"n4k4": (5, 3, 1, 2), "n4k1": (5, 3, 1, 2), "dw4": (5, 1, 2, 3)}.get(layout, (17, 5))
    packed = layouts.pack(random(shape, layout), layout)
    for place in np.argwhere(packed == 0):
        packed[tuple(place)] = 1
        assert not layouts.padding_is_zero(packed, layout, shape)
        packed[tuple(place)] = 0


@pytest.mark.parametrize("layout", ["n4k4", "n4k1", "dw4"])
def test_one_dimensional_convolutions_have_height_1(layout: str) -> None:
    shape = (5, 1, 3)
    array = random(shape, layout)
    packed = layouts.pack(array, layout)
    np.testing.assert_array_equal(packed, layouts.pack(array[:, :, None], layout), strict=True)
    np.testing.assert_array_equal(layouts.unpack(packed, layout, shape), array, strict=True)
    assert packed.shape == layouts.packed_shape(layout, array.dtype.name, shape)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 2, 3, 4, 5, 6, 7, 8)])
def test_row_is_any_shape_in_c_order(shape: tuple[int, ...]) -> None:
    array = np.asarray(np.random.default_rng(2).random(shape), order="F")
    packed = layouts.pack(array, "row")
    assert packed.shape == shape and packed.flags.c_contiguous
    np.testing.assert_array_equal(layouts.unpack(packed, "row", shape), array, strict=True)


@pytest.mark.parametrize(
    ("layout", "dtype", "shape"),
    [
        ("n4k4", "float32", (1, 1, 1, 1)), ("n4k4", "int8", (1, 1)), ("n4k1", "int8", (1, 1, 1, 1)),
        ("dw4", "int8", (1, 2, 1, 1)), ("n16k4", "int8", (1,)), ("n16k1", "float64", (1, 1)),
        ("n8", "int8", (1, 1)),
    ],
)  # fmt: skip
def test_a_layout_that_does_not_fit_is_refused(layout: str, dtype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(FormatError):
        layouts.pack(np.zeros(shape, dtype), layout)
