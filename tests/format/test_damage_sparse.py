"""Hostile sparse parts with right checksums: refused, or read without leaving a part and as `dense` says."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slow_sparse

from edgert.errors import FormatError
from edgert.format import Model, StoredTensor, encodings, layouts, read_model, write_model
from edgert.format.reader import check_tensor
from edgert.graph.ir import Graph

Array = np.ndarray[Any, Any]

NAMES = [*layouts.BLOCKS, "bitmap8", "bitmap4", "bitmap16", "nm8", "nm4", "group4", "rowgroup4", "fanin"]


def accepts(tensor: StoredTensor, parts: dict[str, Array]) -> bool:
    """Whether `parts` pass; if so they are read as a kernel would, which must stay inside."""
    changed = StoredTensor(tensor.name, tensor.dtype, tensor.shape, tensor.encoding, tensor.layout, None, parts)
    try:
        for spec in changed.specs:
            array = parts[spec.role]
            encodings.check_part(tensor.encoding, tensor.dtype, tensor.shape, tensor.layout, spec.role, array)
        check_tensor(changed, None)
    except FormatError as error:
        assert error.expected and error.found and len(str(error)) < 600
        return False
    slow = slow_sparse.read(tensor.encoding, tensor.layout, tensor.shape, parts)
    with np.errstate(invalid="ignore"):
        # float16 numbers and scales are exact in float64; the product is rounded once.
        np.testing.assert_array_equal(slow.astype(tensor.dtype), changed.dense())
    return True


@pytest.mark.parametrize("name", NAMES)
def test_random_bytes_in_sparse_parts(name: str, sparse: dict[str, StoredTensor]) -> None:
    rng = np.random.default_rng(NAMES.index(name))
    tensor = sparse[name]
    assert accepts(tensor, dict(tensor.parts))
    passed = 0
    for _ in range(150):
        parts = {role: part.copy() for role, part in tensor.parts.items()}
        role = rng.choice(sorted(parts))
        flat = parts[role].reshape(-1).view(np.uint8)
        for _ in range(rng.integers(1, 4)):
            at, kind = rng.integers(flat.size), rng.integers(3)
            flat[at] = (
                rng.integers(256) if kind == 0 else flat[at] ^ 1 << rng.integers(8) if kind == 1 else flat[at - 1]
            )
        passed += accepts(tensor, parts)
    assert passed < 150


@pytest.mark.parametrize("name", ["b1x4", "bitmap4", "rowgroup4", "group4", "nm8"])
def test_parts_of_random_bytes(name: str, sparse: dict[str, StoredTensor]) -> None:
    rng = np.random.default_rng(7)
    tensor = sparse[name]
    for _ in range(50):
        parts = {role: part.copy() for role, part in tensor.parts.items()}
        part = parts[rng.choice(sorted(set(parts) - {"scale", "sum"}))]
        part.reshape(-1).view(np.uint8)[:] = rng.integers(0, 256, part.nbytes)
        assert not accepts(tensor, parts)


def test_flipped_bytes_of_a_sparse_file(sparse_file: Path, forge: Any) -> None:
    forge = type(forge).take_apart(sparse_file.read_bytes())
    rng = np.random.default_rng(8)
    for tensor in forge.header["tensors"]:
        for part in tensor["parts"]:
            before = bytes(forge.data[part["offset"] : part["offset"] + part["nbytes"]])
            for place in rng.integers(0, part["nbytes"], 3):
                forge.patch(tensor["name"], part["role"], place, bytes([before[place] ^ 1 << int(rng.integers(8))]))
                sparse_file.write_bytes(forge.bytes())
                try:
                    read_model(sparse_file, verify="all").unpacked_graph()
                except FormatError as error:
                    assert str(sparse_file) in str(error)
                forge.patch(tensor["name"], part["role"], 0, before)
    sparse_file.write_bytes(forge.bytes())
    read_model(sparse_file, verify="all")


def test_claims_of_a_sparse_shape_allocate_nothing(sparse_file: Path, forge: Any) -> None:
    """Few bytes can stand for many zeros: they cost nothing before someone asks for them."""
    forge = type(forge).take_apart(sparse_file.read_bytes())
    largest = {"b4x4": [5, 2**17, 1, 2], "b1x1": [5, 2**16, 1], "fanin": [17, 2**16], "b4x1": [5, 2**16, 1]}
    for tensor in forge.header["tensors"]:
        if tensor["name"] in largest:
            tensor["shape"] = largest[tensor["name"]]
    sparse_file.write_bytes(forge.bytes())
    tracemalloc.start()
    try:
        model = read_model(sparse_file)
        for tensor in model.tensors.values():
            try:
                dict(tensor.parts)
            except FormatError:
                assert tensor.name in largest
            assert tensor.expanded().nbytes > 0
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert model.tensors["fanin"].dense().shape == (17, 2**16)


def test_a_large_sparse_tensor_is_checked_in_a_small_multiple_of_its_bytes(tmp_path: Path) -> None:
    numbers = np.zeros((1024, 4096), np.int8)
    numbers[:, ::3] = 1
    stored = [
        StoredTensor.pack_bitmap8("a", numbers, np.ones((1024, 128), np.float16)),
        StoredTensor.pack_block("b", numbers[:, :, None], np.float32(1), "b1x4"),
    ]
    write_model(Model(Graph(outputs=["a", "b"]), {t.name: t for t in stored}), tmp_path / "m.edge")
    for name, limit in (("a", 3), ("b", 12)):
        tensor = read_model(tmp_path / "m.edge").tensors[name]
        tracemalloc.start()
        try:
            tensor.parts["data"]
            assert tracemalloc.get_traced_memory()[1] < limit * tensor.nbytes
        finally:
            tracemalloc.stop()
