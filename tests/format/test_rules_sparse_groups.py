"""Rules F51 to F53 of docs/format.md: groups left out by halves or one by one, and a constant fan-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sparse_tensors import documented, judge

from edgert.errors import FormatError
from edgert.format import Model, StoredTensor

Array = np.ndarray[Any, Any]
Forge = Any
Refused = Callable[..., FormatError]
Accepted = Callable[[], Model]
Sparse = dict[str, StoredTensor]


def test_f51_halves_of_groups_are_as_documented() -> None:
    documented("group4")


def test_f51_halves_of_groups_that_are_wrong() -> None:
    # Of 40 rows the last 8 and 8 of padding are kept.
    tensor = StoredTensor.pack_group4("t", np.full((40, 40), 8, np.uint8), np.ones((40, 2), np.float16))
    mask, data = tensor.parts.values()
    for group in range(2):
        for bits in (0, 0xFFFF_FFFF, int(mask[0, group]) & int(mask[0, group]) - 1):
            wrong = mask.copy()
            wrong[0, group] = bits
            with pytest.raises(FormatError, match="16 of every 32 rows"):
                judge(tensor, {"mask": wrong, "data": data})
    scales = slice(512, 576)
    assert mask[1].tolist() == [0xFFFF] * 2
    for change, pattern in (
        (lambda d: d[scales].view("<u2").__setitem__(3, 0x7C00), "scale of q4 to be finite"),
        (lambda d: d[scales].view("<u2").__setitem__(8, 1), "in the padding of group4"),
        (lambda d: d.__setitem__(4 * 8, 0x87), "in the padding of group4"),
        (lambda d: d.__setitem__(64 * 6, 0x87), "numbers 8 in the padding of q4"),
    ):
        wrong = data.copy()
        change(wrong[1, 0])
        with pytest.raises(FormatError, match=pattern):
            judge(tensor, {"mask": mask, "data": wrong})
    with pytest.raises(FormatError, match=r"at most 16 groups of every 32 rows.*found 17"):
        StoredTensor.pack_group4("t", np.ones((17, 40), np.uint8), np.ones((17, 2), np.float16))


def test_f52_any_groups_are_as_documented() -> None:
    documented("rowgroup4")


def test_f52_any_groups_that_are_wrong(sparse: Sparse) -> None:
    tensor = sparse["rowgroup4"]
    start, data = tensor.parts.values()
    first, second, end = 0, 8 * int(start[1]), 8 * int(start[2])
    count = bin(int(data[:2].view("<u2")[0])).count("1") + bin(int(data[2:4].view("<u2")[0])).count("1")
    scales = 8 + 16 * count
    assert data[second : second + 4].any()
    for change, pattern in (
        (lambda d: d.__setitem__(first + 5, 1), "zeros after the masks"),
        (lambda d: d.__setitem__(second + 1, 0x80), "another length|nothing kept"),
        (lambda d: d[scales:].__setitem__(slice(2, 4), [0, 0x7C]), "scale of rowgroup4 to be finite"),
        (lambda d: d.__setitem__(end - 1, 1), "zeros after the numbers"),
        (lambda d: d[second : second + 4].view("<u2").__imul__(2), "nothing kept in the padding"),
        # k 40 and on of group 1: the words of its lines 2 and 3.
        (lambda d: d.__setitem__(scales - 1, 0x87), "numbers 8 in the padding"),
    ):
        wrong = data.copy()
        change(wrong)
        with pytest.raises(FormatError, match=pattern):
            judge(tensor, {"start": start, "data": wrong})


def test_f53_fan_in_is_as_documented() -> None:
    documented("fanin")


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda p: p["index"].__setitem__((0, -1, 3), 40), "indices below 40"),
        (lambda p: p["index"].__setitem__((0, 0, 3), p["index"][0, 1, 3]), "indices that rise"),
        (lambda p: p["index"].__setitem__((1, 0, 3), 1), "index 0 and data 0"),
        (lambda p: p["data"].__setitem__((1, 0, 15), 1), "index 0 and data 0"),
        (lambda p: p["scale"].__setitem__(0, np.inf), "finite and > 0"),
        (lambda p: p.update(data=p["data"][:, 1:]), "`data`"),
    ],
)
def test_f53_fan_in_that_is_wrong(change: Callable[[Any], Any], pattern: str, sparse: Sparse) -> None:
    parts = {role: part.copy() for role, part in sparse["fanin"].parts.items()}
    change(parts)
    with pytest.raises(FormatError, match=pattern):
        judge(sparse["fanin"], parts)


def test_f53_missing_numbers_are_the_first_zeros() -> None:
    values = np.array([[0, 7, 0, 0], [1, 2, 0, 0], [0, 0, 0, 0]], np.int8)
    parts = StoredTensor.pack_fanin("t", values, np.float32(1)).parts
    assert parts["index"].shape == (1, 2, 16)
    assert parts["index"][0, :, :3].T.tolist() == [[0, 1], [0, 1], [0, 1]]
    assert parts["data"][0, :, :3].T.tolist() == [[0, 7], [1, 2], [0, 0]]


def test_f53_arguments() -> None:
    for wrong in (np.zeros((2, 3), np.uint8), np.zeros((2, 3, 1), np.int8), np.zeros((2, 2**16 + 1), np.int8)):
        with pytest.raises(FormatError, match="fanin"):
            StoredTensor.pack_fanin("t", wrong, np.ones(2, np.float32))
    wide = np.zeros((1, 2**16), np.int8)
    wide[0, -1] = -128
    assert StoredTensor.pack_fanin("t", wide, np.float32(1)).dense()[0, -1] == -128
