"""Parts that come to memory another way than by the mapping: where they lie, and that they are judged the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgert.errors import FormatError
from edgert.format import read_model
from edgert.format.parts import FilePart, LazyParts, Parts


@pytest.fixture(params=["small_file", "language_file", "sparse_file"])
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def arrived(parts: Parts, content: bytes) -> dict[str, np.ndarray]:
    return {role: np.frombuffer(content, np.uint8, place.nbytes, place.offset) for role, place in places(parts).items()}


def places(parts: Parts) -> dict[str, FilePart]:
    found = {role: parts.place(role) for role in parts}
    return {role: place for role, place in found.items() if place is not None}


def test_what_arrives_is_what_would_be_taken(path: Path) -> None:
    content = path.read_bytes()
    for name, tensor in read_model(path).tensors.items():
        parts = tensor.parts
        assert isinstance(parts, Parts) and set(places(parts)) == set(parts)
        pieces = arrived(parts, content)
        for role, place in places(parts).items():
            assert (place.file, place.tensor, place.role) == (path, name, role)
            assert place.nbytes == parts[role].nbytes and pieces[role].tobytes() == parts[role].tobytes()
        parts.check_arrived(pieces, crc=True)
        for role, piece in pieces.items():
            if piece.size:
                wrong = piece.copy()
                wrong[0] ^= 1
                with pytest.raises(FormatError, match=str(path)) as caught:
                    parts.check_arrived({**pieces, role: wrong}, crc=True)
                assert caught.value.offset == places(parts)[role].offset


def test_what_kernels_trust_is_checked_without_checksums(sparse_file: Path) -> None:
    content = sparse_file.read_bytes()
    for tensor in read_model(sparse_file).tensors.values():
        if tensor.encoding in ("bitmap8", "block"):
            assert isinstance(tensor.parts, Parts)
            pieces = arrived(tensor.parts, content)
            tensor.parts.check_arrived(pieces, crc=False)
            start = pieces["start"].copy()
            start[4:8] = 255
            with pytest.raises(FormatError):
                tensor.parts.check_arrived({**pieces, "start": start}, crc=False)


def test_parts_that_are_made_lie_nowhere() -> None:
    parts = LazyParts((), dict)
    assert parts.place("data") is None
    with pytest.raises(TypeError):
        parts.check_arrived({}, crc=True)


def test_parts_can_be_taken_without_the_others(sparse_file: Path) -> None:
    """Also where the others are damaged, which they say when they arrive."""
    content = bytearray(sparse_file.read_bytes())
    tensor = read_model(sparse_file).tensors["bitmap8"]
    assert isinstance(tensor.parts, Parts)
    place, start = tensor.parts.place("data"), np.array(tensor.parts["start"])
    assert place is not None
    content[place.offset] ^= 1
    sparse_file.write_bytes(content)
    model = read_model(sparse_file)
    apart = model.tensors["bitmap8"].apart()
    assert isinstance(apart.parts, Parts) and apart.parts.place("data") == place
    assert np.array_equal(apart.parts["start"], start)
    with pytest.raises(FormatError):
        apart.parts.check_arrived(arrived(apart.parts, bytes(content)), crc=True)
    with pytest.raises(FormatError):
        apart.expanded().parts["data"]
    model.drop_pages()
    assert np.array_equal(apart.parts["start"], start)
