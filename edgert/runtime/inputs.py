"""What may be fed to a model: names, dtypes and shapes checked, named dimensions bound from them.

Errors say what was expected, what was found and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgert.errors import InputError
from edgert.graph.ir import Array, Dim, Graph, TensorType

_ORT_NAMES = {"float32": "float", "float64": "double"}
_ARRAYS = (np.ndarray, np.generic)


@dataclass(frozen=True)
class ValueInfo:
    """An input or output: name, shape (ints, or names of dimensions that are free) and type, such as
    'tensor(float)', as ONNX Runtime writes it. dtype is NumPy's name."""

    name: str
    shape: list[int | str]
    type: str
    dtype: str

    @classmethod
    def of(cls, name: str, kind: TensorType) -> ValueInfo:
        return cls(name, list(kind.shape), f"tensor({_ORT_NAMES.get(kind.dtype, kind.dtype)})", kind.dtype)


def check_feeds(graph: Graph, feeds: Any) -> dict[str, Array]:
    """`feeds`, a dict by input name, as arrays of the exact dtypes and fitting shapes. Lists and numbers are
    converted, arrays never.

    Raises InputError for unknown, missing and wrong inputs.
    """
    if not isinstance(feeds, Mapping):
        names = ", ".join(graph.inputs)
        raise InputError(f"expected a dict from input names ({names}) to arrays, found {type(feeds).__name__}")
    if feeds.keys() ^ graph.inputs:
        found = ", ".join(repr(name) for name in feeds) or "none"
        wanted = ", ".join(_show(name, graph.types[name]) for name in graph.inputs)
        raise InputError(f"expected the inputs {wanted}; found {found}")
    return {name: check_array(name, feeds[name], graph.types[name]) for name in graph.inputs}


def _show(name: str, kind: TensorType) -> str:
    return f"{name!r} {kind.dtype}[{','.join(str(d) for d in kind.shape)}]"


def check_array(name: str, value: Any, kind: TensorType) -> Array:
    """`value` for the input `name`, of the exact dtype and a fitting shape. Raises InputError."""
    if isinstance(value, _ARRAYS):
        array = np.asarray(value)
    else:
        try:
            array = np.asarray(value, kind.np_dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"input {_show(name, kind)}: found {type(value).__name__}: {error}") from error
    if array.dtype != kind.np_dtype:
        raise InputError(
            f"input {_show(name, kind)}: found dtype {array.dtype}; convert it with .astype({kind.dtype!r})"
        )
    if array.shape != kind.shape and not _fits(array.shape, kind):
        found, hint = list(array.shape), ""
        if len(found) == len(kind.shape) - 1:
            hint = "; add the batch dimension with array[None]"
        raise InputError(f"input {_show(name, kind)}: found shape {found}{hint}")
    return array


def _fits(shape: tuple[int, ...], kind: TensorType) -> bool:
    """Whether `shape` is that of `kind`, whose named dimensions may have any size."""
    if len(shape) != len(kind.shape):
        return False
    for size, dim in zip(shape, kind.shape, strict=True):  # noqa: SIM110 - a generator costs more than the loop
        if size != dim and not isinstance(dim, str):
            return False
    return True


def bindings_of(graph: Graph, feeds: Mapping[str, Array], fixed: Mapping[str, int]) -> dict[str, int]:
    """Sizes of the named dimensions, from `fixed` and from the shapes of checked `feeds`.

    Raises InputError where two inputs, or an input and `fixed`, disagree.
    """
    bindings, origin = dict(fixed), {name: "shapes" for name in fixed}
    for name, array in feeds.items():
        for dim, size in zip(graph.types[name].shape, array.shape, strict=True):
            if isinstance(dim, str) and bindings.setdefault(dim, size) != size:
                raise InputError(
                    f"input {_show(name, graph.types[name])}: dimension {dim!r} is {size} here and "
                    f"{bindings[dim]} in {origin[dim]}"
                )
            if isinstance(dim, str):
                origin.setdefault(dim, f"input {name!r}")
    return bindings


def free_dims(graph: Graph) -> list[str]:
    """Names of dimensions of the inputs, in order of appearance."""
    dims: dict[Dim, None] = {d: None for name in graph.inputs for d in graph.types[name].shape}
    return [d for d in dims if isinstance(d, str)]


def check_shapes(graph: Graph, shapes: Mapping[str, int] | None) -> dict[str, int]:
    """The `shapes` argument of load(), checked. Raises InputError for names the model does not have."""
    names = free_dims(graph)
    for name, size in (shapes or {}).items():
        if name not in names:
            known = ", ".join(names) or "none: all shapes are fixed"
            raise InputError(f"shapes: the model has no dimension {name!r}; it has {known}")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InputError(f"shapes: expected a positive size for {name!r}, found {size!r}")
    return dict(shapes or {})


def check_output_names(graph: Graph, names: Sequence[str] | None) -> list[str]:
    """The outputs asked for, all of them if none are named. Raises InputError for unknown ones."""
    if names is None:
        return list(graph.outputs)
    for name in names:
        if name not in graph.outputs:
            raise InputError(f"expected output names among {', '.join(graph.outputs)}; found {name!r}")
    return list(names)
