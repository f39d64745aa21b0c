"""Rules F44 to F46 of docs/format.md: sizes, checks and twins of tensors that leave zeros out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sparse_tensors import NAMES, TWINS, judge

from edgert.errors import FormatError
from edgert.format import Model, StoredTensor, layouts, read_model, write_model
from edgert.graph.ir import Graph, TensorType

Array = np.ndarray[Any, Any]
Forge = Any
Refused = Callable[..., FormatError]
Accepted = Callable[[], Model]
Sparse = dict[str, StoredTensor]


@pytest.fixture
def forge(forge: Forge, sparse_file: Path) -> Forge:
    """The file of sparse tensors, taken apart."""
    return type(forge).take_apart(sparse_file.read_bytes())


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
