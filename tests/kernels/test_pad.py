"""Pad in all its modes, with crops, in rows and planes."""

from __future__ import annotations

import numpy as np
import pytest
from offers import check

SHAPES = [
    ((2, 8, 5, 6), [0, 0, 1, 2, 0, 0, 3, 1]), ((1, 4, 9), [0, 0, 4, 0, 0, 2]), ((5, 7), [2, 0, 1, 3]),
    ((2, 8, 5, 6), [0, 0, -1, 2, 0, 0, 3, -2]), ((40,), [20, 13]), ((2, 8, 5, 6), [1, 4, 0, 0, 0, 0, 0, 0]),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64"])
@pytest.mark.parametrize(("shape", "pads"), SHAPES)
def test_pad(mode: str, dtype: str, shape: tuple[int, ...], pads: list[int], rng: np.random.Generator) -> None:
    x, around = rng.integers(0, 100, shape).astype(dtype), np.array(pads, np.int64)
    if mode == "reflect" and shape[0] == 2 and pads[0]:
        around = np.array([1, 4, 0, 0, 0, 3, 0, 0], np.int64)
    check("Pad", [x, around], attrs={"mode": mode}, constants={1: around})


def test_a_border_wider_than_the_axis_is_refused() -> None:
    pads = np.array([5, 0], np.int64)
    with pytest.raises(AssertionError, match="reach beyond an axis of 3"):
        check("Pad", [np.zeros(3, np.float32), pads], attrs={"mode": "reflect"}, constants={1: pads})
