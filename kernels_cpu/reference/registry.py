"""The table of reference operators: `REFERENCE`, the `reference` decorator, `Call` and `evaluate`.
What each operator means is in the family modules beside this one, which the package imports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from edgert.errors import MemoryBudgetError, UnsupportedError

Array: TypeAlias = npt.NDArray[Any]


class Quant(NamedTuple):
    """real = scale * (stored - zero_point); scale float32, zero_point int32, shape [] or [C] along `axis`."""

    scale: Array
    zero_point: Array
    axis: int | None = None


@dataclass(frozen=True)
class Call:
    """What an operator application has besides its input values.

    quant_in, quant_out: quantization of each input and output, None where a tensor is not quantized.
    dtype_out: NumPy dtype name of each output, '' for an output nobody asked for.
    """

    op: str
    attrs: dict[str, Any] = field(default_factory=dict)
    quant_in: tuple[Quant | None, ...] = ()
    quant_out: tuple[Quant | None, ...] = ()
    dtype_out: tuple[str, ...] = ()

    def attr_int(self, key: str, default: int) -> int:
        return int(self.attrs.get(key, default))

    def attr_float(self, key: str, default: float) -> float:
        return float(self.attrs.get(key, default))

    def attr_str(self, key: str, default: str) -> str:
        return str(self.attrs.get(key, default))

    def attr_ints(self, key: str, default: Sequence[int]) -> list[int]:
        return [int(v) for v in self.attrs.get(key, default)]

    def wants(self, output: int) -> bool:
        """Whether output number `output` is asked for."""
        return output < len(self.dtype_out) and self.dtype_out[output] != ""


ReferenceFn: TypeAlias = Callable[..., "Array | tuple[Array, ...]"]
_F = TypeVar("_F", bound=ReferenceFn)

REFERENCE: dict[str, ReferenceFn] = {}
"""Operator name -> f(call, *inputs); inputs are arrays, None where an optional input is absent."""


def reference(*names: str) -> Callable[[_F], _F]:
    """Registers the decorated function as the meaning of each operator in `names`."""

    def register(function: _F) -> _F:
        for name in names:
            if name in REFERENCE:
                raise AssertionError(f"operator {name} has two reference functions")
            REFERENCE[name] = function
        return function

    return register


def evaluate(
    op: str,
    inputs: Sequence[Array | None],
    attrs: dict[str, Any] | None = None,
    quant_in: Sequence[Quant | None] = (),
    quant_out: Sequence[Quant | None] = (),
    dtype_out: Sequence[str] = (),
) -> tuple[Array, ...]:
    """Runs operator `op` on `inputs` and returns its outputs, always a tuple.

    Trailing entries of quant_in, quant_out and dtype_out may be left out when the operator does not need
    them. Raises UnsupportedError for an operator without a reference, and for inputs that it can not combine;
    MemoryBudgetError when the machine has no memory for it.
    """
    if op not in REFERENCE:
        raise UnsupportedError(f"operator {op} has no reference implementation")
    quant_in = (*quant_in, *(None,) * (len(inputs) - len(quant_in)))
    call = Call(op, dict(attrs or {}), quant_in, tuple(quant_out), tuple(dtype_out))
    try:
        with np.errstate(all="ignore"):
            result = REFERENCE[op](call, *inputs)
    except (ValueError, TypeError, IndexError, ArithmeticError) as error:
        shapes = ", ".join("none" if x is None else f"{x.dtype}{list(x.shape)}" for x in inputs)
        raise UnsupportedError(f"{op} of {shapes}: {error}") from error
    except MemoryError as error:
        raise MemoryBudgetError(f"{op}: expected memory for what it computes, found none left ({error})") from error
    outputs = result if isinstance(result, tuple) else (result,)
    return tuple(np.asarray(out) for out in outputs)
