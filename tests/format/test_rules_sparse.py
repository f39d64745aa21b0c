"""Rules F44 to F53 and F56 of docs/format.md: tensors that leave zeros out, and what can be wrong with them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slow_sparse

from edgert.errors import FormatError
from edgert.format import Model, StoredTensor, encodings, layouts, read_model, write_model
from edgert.format.reader import check_tensor
from edgert.graph.ir import Graph, TensorType

Array = np.ndarray[Any, Any]
Forge = Any
Refused = Callable[..., FormatError]
Accepted = Callable[[], Model]
Sparse = dict[str, StoredTensor]

NAMES = [*layouts.BLOCKS, "bitmap8", "bitmap4", "bitmap16", "nm8", "nm4", "group4", "rowgroup4", "fanin"]
TWINS = {
    "bitmap8": "q8g", "bitmap4": "q4", "bitmap16": "f16", "nm8": "q8g", "nm4": "q4", "group4": "q4", "rowgroup4": "q4",
    "fanin": "dense",
}  # fmt: skip
SIZES = (0, 1, 2, 3, 5, 16, 17, 33, 70)


@pytest.fixture
def forge(forge: Forge, sparse_file: Path) -> Forge:
    """The file of sparse tensors, taken apart."""
    return type(forge).take_apart(sparse_file.read_bytes())


def judge(tensor: StoredTensor, parts: dict[str, Array]) -> StoredTensor:
    """`tensor` with other parts, judged as the reader does. Raises FormatError."""
    changed = StoredTensor(tensor.name, tensor.dtype, tensor.shape, tensor.encoding, tensor.layout, tensor.quant, parts)
    for spec in changed.specs:
        encodings.check_part(tensor.encoding, tensor.dtype, tensor.shape, tensor.layout, spec.role, parts[spec.role])
    check_tensor(changed, None)
    return changed


def patterned(kind: str, n: int, k: int, rng: np.random.Generator) -> tuple[StoredTensor, Array, StoredTensor]:
    """A random tensor of `kind`, its values, and what its dense twin shall be."""
    if kind in layouts.BLOCKS:
        shape = (n, k, 1, 2) if n % 2 else (n, k, 3)
        values = (rng.integers(-127, 128, shape) * (rng.random(shape) < 0.3)).astype(np.int8)
        scale = rng.uniform(0.1, 1, n).astype(np.float32)
        if layouts.BLOCKS[kind].dtype == "int8":
            packed = StoredTensor.pack_block("t", values, scale, kind)
            return packed, values, StoredTensor.pack_q8("t", values, scale, "n4k4")
        real = values.astype(np.float32) / 8
        return StoredTensor.pack_block("t", real, None, kind), real, StoredTensor.pack_dense("t", real, "n4k1")
    groups = -(-k // 32)
    scale = rng.normal(size=(n, groups)).astype(np.float16)
    kept = rng.random((n, k)) < 0.4
    numbers = (rng.integers(-128, 128, (n, k)) * kept).astype(np.int8)
    if kind == "fanin":
        rows = rng.uniform(0.1, 1, n).astype(np.float32)
        real = numbers * rows[:, None]
        return StoredTensor.pack_fanin("t", numbers, rows), real, StoredTensor.pack_dense("t", real, "n16k1")
    if kind == "bitmap16":
        packed = StoredTensor.pack_bitmap16("t", numbers / 8)
        return packed, (numbers / 8).astype(np.float32), StoredTensor.pack_f16("t", numbers / 8, "n16k1")
    if kind.startswith("nm"):
        tall = rng.random((n, groups * 8, 4)).argsort(axis=2).reshape(n, groups * 32)[:, :k]
        kept = tall < 2
    elif kind == "group4":
        order = rng.random((-(-n // 32), 32, groups)).argsort(axis=1).argsort(axis=1)
        kept = np.repeat(order.reshape(-(-n // 32) * 32, groups)[:n] < 16, 32, axis=1)[:, :k]
    elif kind == "rowgroup4":
        kept = np.repeat(rng.random((n, groups)) < 0.5, 32, axis=1)[:, :k]
    if kind in ("bitmap8", "nm8"):
        numbers = (rng.integers(-128, 128, (n, k)) * kept).astype(np.int8)
        packed = (
            StoredTensor.pack_bitmap8("t", numbers, scale)
            if kind == "bitmap8"
            else StoredTensor.pack_nm("t", numbers, scale, 2, 4)
        )
        twin = StoredTensor.pack_q8g("t", numbers, scale)
        return packed, twin.dense(), twin
    nibbles = np.where(kept, rng.integers(0, 16, (n, k)), 8).astype(np.uint8)
    packed = (
        StoredTensor.pack_nm("t", nibbles, scale, 2, 4)
        if kind == "nm4"
        else getattr(StoredTensor, f"pack_{kind}")("t", nibbles, scale)
    )
    twin = StoredTensor.pack_q4("t", nibbles, scale)
    return packed, twin.dense(), twin


def documented(name: str) -> None:
    """Random tensors of odd sizes: what was packed is what the page's words read from the bytes, and their twin's."""
    rng = np.random.default_rng(1)
    for n in SIZES:
        for k in SIZES:
            tensor, values, twin = patterned(name, n, k, rng)
            judge(tensor, dict(tensor.parts))
            np.testing.assert_array_equal(tensor.dense(), values, strict=True)
            slow = slow_sparse.read(tensor.encoding, tensor.layout, tensor.shape, tensor.parts)
            np.testing.assert_array_equal(slow.astype(values.dtype), values)
            expanded = tensor.expanded()
            assert (expanded.encoding, expanded.layout, expanded.type) == (twin.encoding, twin.layout, tensor.type)
            np.testing.assert_array_equal(expanded.dense(), values, strict=True)
            assert 0 <= tensor.density <= 1 and tensor.sparse and not expanded.sparse


# Sizes that the file says


def test_f44_sizes_that_the_shape_does_not_say(forge: Forge, refused: Refused) -> None:
    for name, role, item, most in (
        ("b4x4", "index", 2, 2 * 12), ("b4x4", "data", 16, 16 * 12), ("b1x4", "data", 4, 4 * 6 * 6),
        ("bitmap8", "data", 8, 2 * (192 + 1024)), ("bitmap16", "data", 8, 2 * (128 + 2048)),
        ("rowgroup4", "data", 8, 2 * 584), ("fanin", "index", 2 * 32, 2 * 40 * 32), ("fanin", "data", 32, 40 * 32),
    ):  # fmt: skip
        part = forge.part(name, role)
        right = part["nbytes"]
        assert right % item == 0 and right <= most
        for wrong in (right + 1, most + item, -item, 2**62, 1.0, None):
            part["nbytes"] = wrong
            refused(r"nbytes")
        part["nbytes"] = right
    for name, least in (("bitmap8", 192), ("bitmap4", 192), ("bitmap16", 128), ("rowgroup4", 8)):
        part = forge.part(name, "data")
        right, part["nbytes"] = part["nbytes"], 2 * least - 8
        refused(rf"nbytes to be a multiple of 8 from {2 * least} to")
        part["nbytes"] = right


def test_f44_sizes_that_do_not_fit_each_other(sparse: Sparse, forge: Forge, refused: Refused) -> None:
    for name, pattern in {"b4x4": "items of `data`", "b1x1": "items of `data`", "fanin": "`data`"}.items():
        parts = dict(sparse[name].parts)
        parts["index"] = parts["index"][:, :-1] if name == "fanin" else parts["index"][:1]
        with pytest.raises(FormatError, match=pattern):
            judge(sparse[name], parts)
    # In a file: one block less in index, the rest of the line is padding.
    forge.part("b4x4", "index")["nbytes"] -= 2
    refused(r"parts to be \d+ items of `data`")


def test_f44_no_quantization_of_its_own(forge: Forge, refused: Refused) -> None:
    for tensor in forge.header["tensors"]:
        tensor["quant"] = {"scale": 1.0, "zero_point": 0}
        refused("quant to be absent")
        del tensor["quant"]


def test_f44_what_an_encoding_is_not_for(forge: Forge, refused: Refused) -> None:
    for name, key, wrong in (
        ("b4x4", "layout", ["n4k4", "row", "b4x1", "b8x4", "b4x4 "]), ("b4x1", "layout", ["b4x4", "n16k64"]),
        ("b4x4", "dtype", ["uint8", "float32", "float16"]), ("b4x4", "shape", [[5, 18], [5], [5, 6, 1, 3, 1], []]),
        ("bitmap8", "shape", [[17, 40, 1], [17], [65, 40]]), ("bitmap8", "layout", ["row", "n32k64", "nm:2:4"]),
        ("bitmap16", "dtype", ["float16", "int8"]), ("group4", "layout", ["n16k64"]), ("rowgroup4", "layout", ["n16"]),
        ("nm4", "layout", ["nm:4:4", "nm:0:4", "nm:2:3", "nm:2:64", "nm:02:4", "nm:2:4:", "nm:N:M", "n16k64", None]),
        ("fanin", "layout", ["n16k1"]), ("fanin", "shape", [[17, 2**16 + 1], [17, 2**40]]),
    ):  # fmt: skip
        (tensor,) = (t for t in forge.header["tensors"] if t["name"] == name)
        right = tensor[key]
        for value in wrong:
            tensor[key] = value
            assert len(str(refused(r"tensors\[\d+\]"))) < 600
        tensor[key] = right


# What holds between the parts


def test_f45_any_part_that_is_taken_brings_the_check_of_all(forge: Forge, tmp_path: Path) -> None:
    broken = {
        "b4x4": ("sum", 0, b"\x01\x02\x03\x04"), "b1x4": ("start", 0, b"\xff"), "b4x1": ("index", 0, b"\xff\xff"),
        "bitmap8": ("data", 0, b"\xff" * 8), "bitmap4": ("start", 4, b"\0\0"), "bitmap16": ("data", 127, b"\x80"),
        "nm4": ("data", 0, b"\x07"), "group4": ("mask", 0, b"\0\0"), "rowgroup4": ("data", 4, b"\1"),
        "fanin": ("index", 32, b"\0" * 32),
    }  # fmt: skip
    for name, (role, place, value) in broken.items():
        before = bytes(forge.data), forge.part(name, role)["crc32"]
        forge.patch(name, role, place, value)
        (tmp_path / "broken.edge").write_bytes(forge.bytes())
        model = read_model(tmp_path / "broken.edge")
        tensor = model.tensors[name]
        assert 0 < tensor.density <= 1 and tensor.nbytes and tensor.expanded().nbytes
        for taken in tensor.parts:
            with pytest.raises(FormatError, match=f"tensor '{name}'") as caught:
                tensor.parts[taken]
            assert caught.value.file and caught.value.offset
        with pytest.raises(FormatError):
            tensor.expanded().parts["data"]
        forge.data[:], forge.part(name, role)["crc32"] = before


def test_f45_crc_of_sparse_parts(forge: Forge, refused: Refused) -> None:
    for tensor in forge.header["tensors"]:
        for part in tensor["parts"]:
            forge.data[part["offset"]] ^= 1
            refused("CRC-32")
            forge.data[part["offset"]] ^= 1


def test_f46_twins(sparse: Sparse, forge: Forge, accepted: Accepted) -> None:
    read = accepted().tensors
    assert list(sparse) == NAMES
    for name, tensor in sparse.items():
        for one in (tensor, read[name]):
            twin = one.expanded()
            assert one.expanded() is twin and twin.expanded() is twin and twin.name == name
            int8 = name in ("b4x4", "b2x4", "b1x4", "b64x4")
            assert twin.encoding == TWINS.get(name, "q8" if int8 else "dense")
            assert (one.quant is not None) == (twin.quant is not None) == int8
            expected = sum(part.nbytes for part in twin.parts.values())
            assert twin.nbytes == expected and list(twin.parts) == [spec.role for spec in twin.specs]
            np.testing.assert_array_equal(twin.dense(), tensor.dense(), strict=True)
    numbers, scale, minimum = read["group4"].groups()
    again = StoredTensor.pack_q4("t", numbers, scale)
    assert minimum is None
    np.testing.assert_array_equal(again.parts["data"], read["group4"].expanded().parts["data"])
    for name in ("b4x4", "bitmap16", "fanin"):
        with pytest.raises(FormatError, match="a scale per group of 32"):
            sparse[name].groups()


def test_f46_the_twin_is_made_when_it_is_taken(forge: Forge, tmp_path: Path) -> None:
    forge.patch("bitmap8", "data", 0, b"\xff", fix_crc=False)
    (tmp_path / "m.edge").write_bytes(forge.bytes())
    twin = read_model(tmp_path / "m.edge").tensors["bitmap8"].expanded()
    assert (twin.shape, twin.encoding, twin.nbytes, len(twin.parts)) == ((17, 40), "q8g", 2 * 1088, 1)
    with pytest.raises(FormatError, match="CRC-32"):
        twin.parts["data"]


def test_f46_what_people_see(sparse: Sparse) -> None:
    patterns = {name: sparse[name].pattern for name in NAMES}
    assert {name: p for name, p in patterns.items() if name != p} == {
        **{name: name[1:] for name in layouts.BLOCKS}, "nm8": "2:4", "nm4": "2:4",
        "fanin": f"fanin {(sparse['fanin'].dense() != 0).sum(axis=1).max()}",
    }  # fmt: skip
    for name in ("b1x1", "b1x4", "bitmap16"):
        values = sparse[name].dense()
        cells = (
            values if name != "b1x4" else np.pad(values, ((0, 0), (0, 2), (0, 0), (0, 0))).reshape(5, 2, 4, 3).any(2)
        )
        assert sparse[name].density == pytest.approx(np.count_nonzero(cells) / cells.size, abs=0.02)
    assert sparse["nm4"].density == sparse["group4"].density == 0.5
    kept = np.repeat((sparse["rowgroup4"].groups()[1] != 0).mean(), 1)[0]
    assert sparse["rowgroup4"].density == pytest.approx(kept, abs=0.04)
    dense = StoredTensor.pack_dense("t", np.ones(3))
    assert (dense.sparse, dense.density, dense.pattern) == (False, 1.0, "")


def test_f46_bits_are_those_of_the_table() -> None:
    """Large tensors with half of what can be left out left out."""
    rng = np.random.default_rng(2)
    shape = (512, 1024)
    half = rng.random(shape) < 0.5
    scale = np.ones((512, 32), np.float16)
    one = np.ones(shape, np.int8)
    nibbles = np.where(half, 1, 8).astype(np.uint8)
    grouped = np.where(np.repeat(np.arange(512)[:, None] % 2 == np.arange(32) % 2, 32, axis=1), 1, 8).astype(np.uint8)
    halves = (one * (np.arange(1024) % 2)).astype(np.int8)
    blocks = np.zeros((512, 1024, 1, 1), np.int8)
    blocks[:, ::8] = blocks[:, 1::8] = 1
    cases = {
        "bitmap8 5.5": StoredTensor.pack_bitmap8("t", one * half, scale),
        "bitmap4 3.5": StoredTensor.pack_bitmap4("t", nibbles, scale),
        "bitmap16 9": StoredTensor.pack_bitmap16("t", half.astype(np.float32)),
        "nm8 5.5": StoredTensor.pack_nm("t", halves, scale, 2, 4),
        "nm4 3.5": StoredTensor.pack_nm("t", np.where(halves, 1, 8).astype(np.uint8), scale, 4, 8),
        "group4 2.28": StoredTensor.pack_group4("t", grouped, scale),
        "rowgroup4 2.31": StoredTensor.pack_rowgroup4("t", grouped, scale),
        "fanin 12": StoredTensor.pack_fanin("t", halves, np.float32(1)),
        "4x4 4.5": StoredTensor.pack_block("t", blocks, np.float32(1), "b4x4"),
        "2x4 5": StoredTensor.pack_block("t", blocks, np.float32(1), "b2x4"),
        "64x4 4.03": StoredTensor.pack_block("t", blocks, np.float32(1), "b64x4"),
    }
    for case, tensor in cases.items():
        bits = float(case.split()[1])
        # q8 has 8 bytes beside a row.
        beside = 64 * 512 if tensor.encoding == "block" else 0
        assert (8 * tensor.nbytes - beside) / tensor.dense().size == pytest.approx(bits, abs=0.05), case
        assert tensor.density == pytest.approx(0.5, abs=0.01), case


# Each encoding: its bytes, and what they must not be


@pytest.mark.parametrize("name", list(layouts.BLOCKS))
def test_f47_blocks_are_as_documented(name: str) -> None:
    documented(name)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda p: p["start"].__setitem__(0, 1), "begin with 0"),
        (lambda p: p["start"].__setitem__(1, 2**32 - 1), "never falls"),
        (lambda p: p["start"].__setitem__(-1, len(p["index"]) + 1), "`start` to end with the"),
        (lambda p: p["index"].__setitem__(0, 6), "cells below 6"),
        (lambda p: p["index"].__setitem__(1, p["index"][0]), "cells of `index` that rise"),
        (lambda p: p["data"].__setitem__((0, 0, 0), -128), "at least -127"),
        (lambda p: p["data"].__setitem__((-1, 1, 0), 1), "last output channel"),
        (lambda p: p["data"].__setitem__((np.flatnonzero(p["index"] % 2)[0], 0, 2), 1), "last input channel"),
        (lambda p: p["scale"].__setitem__(3, np.nan), "finite and > 0"),
        (lambda p: p["scale"].__setitem__(3, 0), "finite and > 0"),
        (lambda p: p["sum"].__setitem__(4, 77), "`sum` of block"),
        (lambda p: p.pop("sum"), "the parts"),
        (lambda p: p.update(index=p["index"].astype(np.uint32)), "part index uint16"),
    ],
)
def test_f47_blocks_that_are_wrong(change: Callable[[Any], Any], pattern: str, sparse: Sparse) -> None:
    parts = {role: part.copy() for role, part in sparse["b4x4"].parts.items()}
    judge(sparse["b4x4"], parts)
    change(parts)
    with pytest.raises(FormatError, match=pattern):
        judge(sparse["b4x4"], parts)


def pair(start: list[list[int]], index: list[int], rows: int = 2) -> StoredTensor:
    """A tensor b1x1 of 4 inputs with this table, all values 1."""
    parts = {
        "start": np.array(start, np.uint32),
        "index": np.array(index, np.uint16),
        "data": np.ones(max(0, start[-1][3]), np.float32),
    }
    tensor = StoredTensor("t", "float32", (rows, 4, 1, 1), "block", "b1x1", None, parts)
    return judge(tensor, parts)


def test_f47_pairs_of_rows() -> None:
    tensor = pair([[0, 1, 2, 0], [3, 3, 3, 4]], [2, 0, 1])
    np.testing.assert_array_equal(tensor.dense().reshape(2, 4), [[1, 0, 1, 0], [0, 1, 1, 0]])
    packed = StoredTensor.pack_block("t", tensor.dense(), None, "b1x1")
    for role, part in tensor.parts.items():
        np.testing.assert_array_equal(packed.parts[role], part, strict=True)
    for start, index, pattern in (
        ([[1, 1, 2, 0], [3, 3, 3, 4]], [2, 0, 1], "begin with 0"),
        ([[0, 2, 1, 0], [3, 3, 3, 5]], [0, 1, 2], "never falls"),
        ([[0, 1, 2, 0], [3, 3, 2, 4]], [2, 0, 1], "never falls"),
        ([[0, 1, 2, 0], [2, 3, 3, 4]], [2, 0, 1], "three times"),
        ([[0, 1, 2, 0], [4, 4, 4, 4]], [2, 0, 1], "end with the 3 blocks"),
        ([[0, 1, 2, 1], [3, 3, 3, 4]], [2, 0, 1], "begin with 0"),
        ([[0, 1, 2, 0], [3, 3, 3, 5]], [2, 0, 1], "two cells of `data`"),
        ([[0, 0, 0, 0], [3, 3, 3, 4]], [0, 1, 2], "two cells of `data`"),
        ([[0, 2, 2, 0], [2, 2, 2, 4]], [1, 0], "that rise"),
        ([[0, 1, 2, 0], [3, 3, 3, 4]], [0, 0, 1], "one segment"),
        ([[0, 0, 1, 0], [2, 2, 2, 2]], [3, 3], "one segment"),
        ([[0, 0, 1, 0], [2, 2, 2, 2]], [3, 4], "cells below 4"),
        ([[0, 1, 2, 0], [3, 3, 3, 7]], [2, 0, 1], "3 to 6 items"),
    ):
        with pytest.raises(FormatError, match=pattern):
            pair(start, index)
    pair([[0, 0, 1, 0], [1, 1, 1, 1]], [3], rows=1)
    for start, index in (([[0, 0, 0, 0], [1, 1, 1, 1]], [3]), ([[0, 1, 1, 0], [1, 1, 1, 2]], [3])):
        with pytest.raises(FormatError, match="beyond the last output"):
            pair(start, index, rows=1)


def test_f47_arguments() -> None:
    values, scale = np.ones((5, 3, 1, 1), np.int8), np.ones(5, np.float32)
    for args in (
        (values[:, :, 0, 0], scale, "b4x4"), (values, scale, "b4x1"), (values, scale, "n4k4"), (values, None, "b4x4"),
        (values.astype(np.float32), scale, "b4x1"), (values * np.int8(-128), scale, "b4x4"),
        (values, 0 * scale, "b4x4"), (np.ones((1, 8, 200, 200), np.int8), scale[:1], "b4x4"),
    ):  # fmt: skip
        with pytest.raises(FormatError):
            StoredTensor.pack_block("t", *args)  # type: ignore[arg-type]
    wide = np.zeros((1, 4, 256, 256), np.int8)
    wide[..., -1, -1] = 1
    assert StoredTensor.pack_block("t", wide, scale[:1], "b4x4").parts["index"].tolist() == [65535]


@pytest.mark.parametrize("name", ["bitmap8", "bitmap4", "bitmap16", "nm8", "nm4"])
def test_f48_masked_blocks_are_as_documented(name: str) -> None:
    documented(name)


@pytest.mark.parametrize("layout", ["b4x1", "b2x1", "b1x1"])
@pytest.mark.parametrize("shape", [(5, 6, 1, 1), (4, 64, 2, 2), (3, 65, 2, 2), (1, 1, 1, 1)])
def test_f56_blocks_of_halves(layout: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """The values of `block` in half the bytes; the number of a cell is a byte where 256 are enough."""
    rng = np.random.default_rng(6)
    values = (rng.normal(size=shape) * (rng.random(shape) < 0.4)).astype(np.float16).astype(np.float32)
    packed, wide = StoredTensor.pack_block16("t", values, layout), StoredTensor.pack_block("t", values, None, layout)
    cells = shape[1] * shape[2] * shape[3]
    assert packed.parts["index"].dtype == (np.uint8 if cells <= 256 else np.uint16)
    assert packed.parts["data"].dtype == np.float16 and packed.sparse and packed.pattern == wide.pattern
    np.testing.assert_array_equal(slow_sparse.read("block16", layout, shape, packed.parts), values)
    write_model(Model(Graph("g", outputs=["t"]), {"t": packed}), tmp_path / "m.edge")
    read = read_model(tmp_path / "m.edge", verify="all").tensors["t"]
    np.testing.assert_array_equal(read.dense(), values, strict=True)
    widened = read.widened()
    assert (widened.encoding, widened.layout, widened.density) == ("block", layout, wide.density)
    assert widened is read.widened() and widened.widened() is widened
    for role, part in wide.parts.items():
        np.testing.assert_array_equal(widened.parts[role], part, strict=True)
    twin = StoredTensor.pack_dense("t", values, "n4k1")
    np.testing.assert_array_equal(read.expanded().parts["data"], twin.parts["data"], strict=True)


def test_f56_halves_that_are_wrong() -> None:
    values = np.eye(5, dtype=np.float32).reshape(5, 5, 1, 1)
    packed = StoredTensor.pack_block16("t", values, "b1x1")
    judge(packed, dict(packed.parts))
    high = packed.parts["index"].copy()
    high[-1] = 5
    with pytest.raises(FormatError, match="cells below 5"):
        judge(packed, dict(packed.parts) | {"index": high})
    with pytest.raises(FormatError, match="part index uint8"):
        judge(packed, dict(packed.parts) | {"index": packed.parts["index"].astype(np.uint16)})
    with pytest.raises(FormatError, match="65504"):
        StoredTensor.pack_block16("t", values * np.float32(1e6), "b1x1")
    with pytest.raises(FormatError, match="layout"):
        StoredTensor.pack_block16("t", values, "b4x4")


def test_f48_a_block_by_hand() -> None:
    numbers = np.full((1, 8), 8, np.uint8)
    numbers[0, [0, 5, 6]] = 1, 2, 3
    data = StoredTensor.pack_bitmap4("t", numbers, np.full((1, 1), 2, np.float16)).parts["data"]
    # k = 0 is bit 0 of line 0, k = 5 and 6 are bits 1 and 2 of line 1; 1, 2 are one byte, 3 the next.
    assert data[:16].tolist() == [1, *[0] * 7, 6, *[0] * 7] and not data[16:128].any()
    assert data[128:130].tobytes() == struct.pack("<e", 2) and not data[130:192].any()
    assert data[192:].tolist() == [0x21, 3, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("name", "places", "pattern"),
    [
        # 17 x 40: rows 1 to 15 of the second row of blocks and k from 40 are padding; line 10 has k from 40.
        ("bitmap8", {"mask": (0, 10 * 8)}, "nothing kept in the padding"),
        ("bitmap4", {"mask": (1, 1)}, "nothing kept in the padding"),
        ("bitmap16", {"mask": (0, 40 * 2)}, "nothing kept in the padding"),
        ("bitmap8", {"scale": (0, 5, 0x7C00)}, "each scale of bitmap8 to be finite"),
        ("bitmap4", {"scale": (0, 20, 0xFC01)}, "each scale of bitmap4 to be finite"),
        ("nm8", {"scale": (0, 20, 0x7E00)}, "each scale of nm8 to be finite"),
        ("nm4", {"scale": (1, 16, 0x7C00)}, "each scale of nm4 to be finite"),
        ("bitmap8", {"scale": (1, 1, 1)}, "each scale of bitmap8 to be 0 in padding"),
        ("nm4", {"scale": (1, 17, 1)}, "each scale of nm4 to be 0 in padding"),
        ("bitmap8", {"end": 1}, "zeros after the numbers"),
        ("bitmap4", {"end": 0}, "zeros after the numbers"),
        ("bitmap16", {"end": 1}, "zeros after the numbers"),
    ],
)
def test_f48_masked_blocks_that_are_wrong(name: str, places: dict[str, Any], pattern: str, sparse: Sparse) -> None:
    parts = {role: part.copy() for role, part in sparse[name].parts.items()}
    flat = parts["data"].reshape(-1)
    starts = 8 * parts["start"].astype(int) if "start" in parts else [0, parts["data"].shape[-1], flat.size]
    if "mask" in places:
        block, byte = places["mask"]
        # Another bit goes, so that the length stays.
        head = flat[starts[block] : starts[block] + 128]
        full = np.flatnonzero(head)[0]
        head[full] &= head[full] - 1
        head[byte] |= 0x80 if block else 1
    elif "scale" in places:
        block, number, bits = places["scale"]
        flat[starts[block] + 128 :][:64].view("<u2")[number] = bits
    else:
        flat[starts[places["end"] + 1] - 1] |= 0x80
    with pytest.raises(FormatError, match=pattern):
        judge(sparse[name], parts)


def test_f48_an_unused_half_byte_is_zero() -> None:
    numbers = np.full((1, 8), 8, np.uint8)
    numbers[0, :3] = 1
    tensor = StoredTensor.pack_bitmap4("t", numbers, np.ones((1, 1), np.float16))
    parts = dict(tensor.parts)
    parts["data"][193] |= 0x10
    with pytest.raises(FormatError, match="zeros after the numbers"):
        judge(tensor, parts)
    # A kept number may be zero, and 16 numbers leave nothing unused.
    parts["data"][193] = 0x08
    assert judge(tensor, parts).dense()[0, 2] == 0


@pytest.mark.parametrize("name", ["bitmap8", "bitmap4", "bitmap16", "rowgroup4"])
def test_f49_rows_of_blocks_that_are_wrong(name: str, sparse: Sparse) -> None:
    right = sparse[name].parts
    units = int(right["start"][-1])
    for start, pattern in (
        ([1, right["start"][1], units], "begin with 0"),
        ([0, units + 1, units], "never falls"),
        ([0, right["start"][1], units - 1], "to end with"),
        ([0, right["start"][1], 2**32 - 1], "to end with"),
        ([0, 0, units], "row that ends before"),
        ([0, units, units], "another length|ends before"),
        ([0, right["start"][1] + 1, units], "another length"),
        ([0, right["start"][1] - 1, units], "another length|ends before"),
    ):
        with pytest.raises(FormatError, match=pattern):
            judge(sparse[name], {**right, "start": np.array(start, np.uint32)})
    more = right["data"].copy()
    more[:4] = 0xFF
    with pytest.raises(FormatError, match="a row of blocks"):
        judge(sparse[name], {**right, "data": more})


def test_f49_a_bitmap_that_start_can_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgert.format.encodings.ragged.MOST_UNITS", 40)
    with pytest.raises(FormatError, match="at most 320 bytes"):
        StoredTensor.pack_bitmap16("t", np.ones((17, 64)))


def test_f50_n_of_m_of_every_size() -> None:
    rng = np.random.default_rng(3)
    for m in (2, 4, 8, 16, 32):
        for n in {1, m // 2, m - 1}:
            order = rng.random((19, 96 // m, m)).argsort(axis=2).reshape(19, 96)[:, :90]
            numbers = (rng.integers(1, 128, (19, 90)) * (order < n)).astype(np.int8)
            scale = np.ones((19, 3), np.float16)
            tensor = StoredTensor.pack_nm("t", numbers, scale, n, m)
            assert tensor.parts["data"].shape == (2, 2, 192 + 1024 * n // m)
            assert (tensor.layout, tensor.pattern, tensor.density) == (f"nm:{n}:{m}", f"{n}:{m}", n / m)
            judge(tensor, dict(tensor.parts))
            np.testing.assert_array_equal(tensor.dense(), numbers.astype(np.float32))
            slow = slow_sparse.read("nm8", tensor.layout, tensor.shape, tensor.parts)
            np.testing.assert_array_equal(slow, numbers)
            bits = np.unpackbits(tensor.parts["data"][..., :128], axis=-1, bitorder="little")
            rows = bits.reshape(2, 2, 16, 16, 4).transpose(0, 3, 1, 2, 4).reshape(32, 128 // m, m)
            assert (rows.sum(axis=2) == n).all()
            # Swapped into a neighbour, or set beside it, it is n of m no more.
            for row, group in ((0, 0), (15, 1), (31, 127 // m)):
                place = np.argwhere(rows[row, group] == 0)[0, 0]
                k = group * m + place
                parts = {"data": tensor.parts["data"].copy()}
                bit = k % 64 // 4 * 64 + 4 * (row % 16) + k % 4
                parts["data"][row // 16, k // 64, bit // 8] ^= 1 << bit % 8
                with pytest.raises(FormatError, match=f"exactly {n} kept of every {m} k"):
                    judge(tensor, parts)


def test_f50_missing_numbers_are_the_first_zeros() -> None:
    numbers = np.zeros((1, 8), np.int8)
    numbers[0, 2:4] = 5, 6
    data = StoredTensor.pack_nm("t", numbers, np.ones((1, 1), np.float16), 3, 4).parts["data"][0, 0]
    # Rows 1 and 3 of a line are the high halves of its bytes, padding as the rest.
    assert data[:9].tolist() == [0x7D, *[0x77] * 7, 0x77] and data[192:196].tolist() == [0, 5, 6, 0]


def test_f50_padding_keeps_zeros(sparse: Sparse) -> None:
    for name in ("nm8", "nm4"):
        for block, byte in ((0, -1), (1, -1), (1, 194)):
            parts = {"data": sparse[name].parts["data"].copy()}
            # Row 16 has the first two numbers of a line; the last line of a block is k 60 to 63.
            parts["data"][block, 0, byte] ^= 0x11
            with pytest.raises(FormatError, match=f"numbers [08] in the padding of {name}"):
                judge(sparse[name], parts)


def test_f50_arguments() -> None:
    scale = np.ones((2, 1), np.float16)
    with pytest.raises(FormatError, match="at most 2 numbers of every 4"):
        StoredTensor.pack_nm("t", np.ones((2, 4), np.int8), scale, 2, 4)
    for n, m in ((0, 4), (4, 4), (2, 3), (1, 64), (-1, 4)):
        with pytest.raises(FormatError, match="nm:N:M"):
            StoredTensor.pack_nm("t", np.zeros((2, 4), np.int8), scale, n, m)
    with pytest.raises(FormatError, match="numbers"):
        StoredTensor.pack_nm("t", np.zeros((2, 4), np.int16), scale, 2, 4)


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


def test_sparse_tensors_survive(
    sparse_file: Path, sparse: Sparse, tmp_path: Path, same_model: Callable[[Model, Model], None]
) -> None:
    read = read_model(sparse_file, verify="all")
    write_model(read, tmp_path / "again.edge")
    assert (tmp_path / "again.edge").read_bytes() == sparse_file.read_bytes()
    same_model(read_model(tmp_path / "again.edge"), read)
    for name, tensor in sparse.items():
        back = read.tensors[name]
        assert back.type == tensor.type == TensorType(tensor.dtype, tensor.shape, tensor.quant)
        assert back.nbytes == tensor.nbytes == sum(part.nbytes for part in tensor.parts.values())
        assert (back.pattern, back.density) == (tensor.pattern, tensor.density)
    assert all(not np.isnan(array).any() for array in read.unpacked_graph().constants.values())
    empty = StoredTensor.pack_bitmap8("e", np.zeros((0, 5), np.int8), np.zeros((0, 1), np.float16))
    write_model(Model(Graph(outputs=["e"]), {"e": empty}), tmp_path / "empty.edge")
    assert read_model(tmp_path / "empty.edge", verify="all").tensors["e"].dense().shape == (0, 5)
