"""`fanin`: as many weights in every row, wherever they are (rule F53).

Constant fan-in as SRigL trains it (Lasby et al. 2024, arXiv:2305.02299): 16 rows side by side gather their inputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgert.errors import FormatError
from edgert.format import layouts
from edgert.format.encodings.base import PartSpec, check_scale
from edgert.format.encodings.dense import encode_dense
from edgert.format.encodings.groups import ROWS
from edgert.format.encodings.sparse import Sparse, check_matrix
from edgert.graph.ir import Array

MAX_INPUTS = 1 << 16
"""K: an index is uint16."""


class FanIn(Sparse):
    """`index` uint16 and `data` int8 [N/16][k][16], `scale` float32 [N]: weight(n, index) = scale[n] * data.

    24 bits for each weight that is stored. Indices rise in each row; rows beyond N have index 0 and data 0.
    """

    name = "fanin"

    def part_specs(self, dtype: str, shape: tuple[int, ...], layout: str, axis: int | None) -> tuple[PartSpec, ...]:
        check_matrix(self.name, dtype, shape, layout, layouts.SIXTEEN)
        if shape[1] > MAX_INPUTS:
            raise FormatError(
                None, None, f"at most {MAX_INPUTS} inputs for encoding {self.name}", f"{shape[1]}", "store it dense"
            )
        sizes = -(-shape[0] // ROWS), shape[1], ROWS
        return (
            PartSpec("index", "uint16", sizes, free=1),
            PartSpec("data", "int8", sizes, free=1),
            PartSpec("scale", "float32", shape[:1]),
        )

    def check_sizes(self, specs: tuple[PartSpec, ...]) -> None:
        index, data = specs[:2]
        if index.shape != data.shape:
            raise FormatError(None, None, f"`data` {list(index.shape)} as `index`", str(list(data.shape)))

    def check_part(self, dtype: str, shape: tuple[int, ...], layout: str, role: str, array: Array) -> None:
        if role == "scale":
            check_scale(array)

    def check_whole(self, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> None:
        index, data = parts["index"], parts["data"]
        if index.size and int(index.max()) >= max(1, shape[1]):
            raise FormatError(None, None, f"indices below {shape[1]}", str(index.max()))
        real = shape[0] % ROWS
        if real and (index[-1:, :, real:].any() or data[-1:, :, real:].any()):
            raise FormatError(None, None, f"index 0 and data 0 in the padding of {self.name}", "other values")
        rising = index[:, 1:] > index[:, :-1]
        if real:
            rising[-1:, :, real:] = True
        if not rising.all():
            raise FormatError(None, None, "indices that rise in each row", "one that does not")

    def decode(self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]) -> Array:
        real = np.zeros(shape, np.float32)
        index, data = (_row_after_row(parts[role])[: shape[0]] for role in ("index", "data"))
        values = data.astype(np.float32) * parts["scale"][:, None]
        np.put_along_axis(real, index.astype(np.int64), values, axis=1)
        return real

    def pattern(self, layout: str, specs: tuple[PartSpec, ...]) -> str:
        return f"fanin {specs[0].shape[1]}"

    def density(self, shape: tuple[int, ...], layout: str, specs: tuple[PartSpec, ...]) -> float:
        return specs[0].shape[1] / max(1, shape[1])

    def twin(self, dtype: str, layout: str) -> tuple[str, str]:
        return "dense", "n16k1"

    def expand(
        self, dtype: str, shape: tuple[int, ...], layout: str, parts: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return encode_dense(self.decode(dtype, shape, layout, parts), "n16k1")

    def encode(self, values: Array, scale: Array) -> dict[str, Array]:
        """The parts from int8 `values` [N, K] and `scale` float32 [N] or []. Rows with fewer get zeros, first k first.

        Raises FormatError if they break a rule of the encoding.
        """
        if values.dtype != np.int8 or values.ndim != 2:
            raise FormatError(
                None, None, f"int8 values [N, K] for encoding {self.name}", f"{values.dtype} {list(values.shape)}"
            )
        self.part_specs("float32", values.shape, layouts.SIXTEEN, None)
        factors = np.array(np.broadcast_to(np.asarray(scale, np.float32), values.shape[:1]))
        check_scale(factors)
        needed = values != 0
        counts = needed.sum(axis=1)
        k = int(counts.max(initial=0))
        rank = np.cumsum(~needed, axis=1)
        chosen = needed | (rank <= (k - counts)[:, None])
        index = np.nonzero(chosen)[1].reshape(len(values), k)
        data = np.take_along_axis(values, index, axis=1)
        return {"index": _side_by_side(index.astype(np.uint16)), "data": _side_by_side(data), "scale": factors}


def _side_by_side(rows: Array) -> Array:
    """[N, k] as [N/16][k][16], zeros beyond N."""
    blocks = -(-len(rows) // ROWS)
    full = np.zeros((blocks * ROWS, rows.shape[1]), rows.dtype)
    full[: len(rows)] = rows
    return np.ascontiguousarray(full.reshape(blocks, ROWS, rows.shape[1]).transpose(0, 2, 1))


def _row_after_row(lines: Array) -> Array:
    """The inverse of _side_by_side, with the zeros."""
    blocks, k, _ = lines.shape
    return lines.transpose(0, 2, 1).reshape(blocks * ROWS, k)
