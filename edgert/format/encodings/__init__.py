"""Encodings: how the numbers of a stored tensor lie in its parts. One file each; the registry is here.

Where the parts lie in the file is `tensor_fields.py`, the order inside a part `layouts.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgert.errors import FormatError
from edgert.format.encodings.base import QUANTIZED_DTYPES, Encoding, PartSpec, check_scale, check_zero_point
from edgert.format.encodings.bitmap import Bitmap4, Bitmap8, Bitmap16
from edgert.format.encodings.block import Block16, BlockSparse
from edgert.format.encodings.dense import Dense, encode_dense
from edgert.format.encodings.f16 import F16, encode_f16
from edgert.format.encodings.fanin import FanIn
from edgert.format.encodings.group4 import Group4
from edgert.format.encodings.groups import Grouped
from edgert.format.encodings.neurons import Neurons, Neurons4, Neurons8
from edgert.format.encodings.nm import NM4, NM8
from edgert.format.encodings.q4 import Q4, Q4M
from edgert.format.encodings.q8 import Q8, Q8_LIMIT, encode_q8, row_sums
from edgert.format.encodings.q8g import Q8G
from edgert.format.encodings.rowgroup4 import RowGroup4
from edgert.format.encodings.sparse import Sparse
from edgert.graph.ir import DTYPES, Array

__all__ = [
    "ENCODINGS", "GROUPED", "NEURONS", "NM4", "NM8", "Q8_LIMIT", "QUANTIZED_DTYPES", "SPARSE", "Bitmap4", "Bitmap8",
    "Bitmap16", "Block16", "BlockSparse", "FanIn", "Group4", "PartSpec", "RowGroup4", "Sparse", "check_part",
    "check_scale", "check_sizes", "check_whole", "check_zero_point", "decode", "encode_dense", "encode_f16",
    "encode_q8", "grouped", "groups_of", "neurons_of", "part_specs", "row_sums", "sparse_of", "stored_specs",
    "wide_of", "widen",
]  # fmt: skip

_REGISTRY: dict[str, Encoding] = {
    encoding.name: encoding
    for encoding in (
        Dense(), Q8(), Q4(), Q4M(), Q8G(), F16(),
        BlockSparse(), Block16(), Bitmap8(), Bitmap4(), Bitmap16(), NM8(), NM4(), Group4(), RowGroup4(), FanIn(),
        Neurons4(), Neurons8(),
    )
}  # fmt: skip

ENCODINGS = tuple(_REGISTRY)

SPARSE = tuple(name for name, encoding in _REGISTRY.items() if encoding.sparse)
"""Those that leave zeros out."""

GROUPED = tuple(name for name, encoding in _REGISTRY.items() if isinstance(encoding, Grouped))
"""Those with a scale per group of 32, in layout n16k64."""

NEURONS = tuple(name for name, encoding in _REGISTRY.items() if isinstance(encoding, Neurons))
"""Those that keep together what a neuron needs."""


def part_specs(
    encoding: str, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None = None
) -> tuple[PartSpec, ...]:
    """The parts, in file order. `axis` is that of a dense tensor's quantization, None if not per channel.

    Sizes are Python integers. Raises FormatError if the combination has no meaning.
    """
    if dtype not in DTYPES:
        raise FormatError(None, None, f"one of the dtypes {', '.join(DTYPES)}", repr(dtype))
    if axis is not None and not (0 <= axis < len(shape) and dtype in QUANTIZED_DTYPES):
        raise FormatError(
            None, None, f"per-channel quantization of {' or '.join(QUANTIZED_DTYPES)} along an axis it has",
            f"axis {axis} of {dtype} {list(shape)}",
        )  # fmt: skip
    return _of(encoding).part_specs(dtype, shape, layout, axis)


def check_sizes(encoding: str, specs: tuple[PartSpec, ...]) -> None:
    """Raises FormatError unless the sizes of parts that may vary fit each other; `specs` are sized."""
    _of(encoding).check_sizes(specs)


def stored_specs(
    encoding: str, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None, parts: Mapping[str, Array]
) -> tuple[PartSpec, ...]:
    """part_specs with the sizes that `parts` have. Raises FormatError if they are not such parts."""
    specs = part_specs(encoding, dtype, shape, layout, axis)
    if set(parts) != {spec.role for spec in specs}:
        raise FormatError(None, None, f"the parts {[s.role for s in specs]}", f"{sorted(parts)}")
    sized = []
    for spec in specs:
        array = parts[spec.role]
        if array.dtype.name == spec.dtype and spec.free is not None:
            try:
                spec = spec.sized(array.nbytes)
            except FormatError as error:
                raise FormatError(None, None, f"part {spec.role} of bytes {error.expected}", error.found) from None
        if (array.dtype.name, array.shape) != (spec.dtype, spec.shape):
            raise FormatError(
                None, None, f"part {spec.role} {spec.dtype} {list(spec.shape)}",
                f"{array.dtype.name} {list(array.shape)}",
            )  # fmt: skip
        sized.append(spec)
    check_sizes(encoding, tuple(sized))
    return tuple(sized)


def check_part(encoding: str, dtype: str, shape: tuple[int, ...], layout: str, role: str, array: Array) -> None:
    """Raises FormatError unless the values of one part are what its encoding promises.

    `dtype`, `shape` and `layout` are the tensor's. Reads `array` once and copies nothing of its size.
    """
    _of(encoding).check_part(dtype, shape, layout, role, array)


def check_whole(encoding: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> None:
    """Raises FormatError unless what must hold between the parts does, such as the row sums of q8."""
    _of(encoding).check_whole(shape, layout, parts)


def decode(encoding: str, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
    """The row-major values in the logical `dtype`; a view of the parts where they have them so."""
    return _of(encoding).decode(dtype, shape, layout, parts)


def groups_of(
    encoding: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]
) -> tuple[Array, Array, Array | None]:
    """Numbers, scales and minima of an encoding by groups of 32. Raises FormatError for the others."""
    return _of(encoding).groups(shape, layout, parts)


def wide_of(encoding: str) -> str:
    """The encoding that holds the same numbers in float32 where this one has them in float16, else ''."""
    return _of(encoding).wide


def widen(encoding: str, parts: Mapping[str, Array]) -> dict[str, Array]:
    """The parts of the tensor in encoding `wide_of`. Raises FormatError where that is ''."""
    return _of(encoding).widen(parts)


def sparse_of(encoding: str) -> Sparse | None:
    """The encoding of that name if it leaves zeros out."""
    found = _of(encoding)
    return found if isinstance(found, Sparse) else None


def grouped(encoding: str) -> Grouped:
    """The encoding of that name if it is one with groups. Raises FormatError."""
    found = _of(encoding)
    if not isinstance(found, Grouped):
        raise FormatError(None, None, f"one of the encodings {', '.join(GROUPED)}", encoding)
    return found


def neurons_of(encoding: str) -> Neurons:
    """The encoding of that name if it is one of neurons. Raises FormatError."""
    found = _of(encoding)
    if not isinstance(found, Neurons):
        raise FormatError(None, None, f"one of the encodings {', '.join(NEURONS)}", encoding)
    return found


def _of(encoding: str) -> Encoding:
    if encoding not in _REGISTRY:
        raise FormatError(None, None, f"one of the encodings {', '.join(ENCODINGS)}", repr(encoding))
    return _REGISTRY[encoding]
