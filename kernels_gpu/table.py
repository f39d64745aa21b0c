"""The table of twins: which CPU kernels have an OpenCL form, where its source is, and how it is launched.

A twin runs the record of its CPU kernel on the same bytes. Rows live in the modules of FAMILIES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module

from edgert.kernels_cpu.registry import kernels
from edgert.kernels_gpu.device import Capabilities

FAMILIES = ("bytes", "floats", "language", "neurons", "sequences")
"""Modules of this package with a tuple TWINS: 8-bit networks, float networks and what serves all, language models and
their neurons, recurrent layers."""


@dataclass(frozen=True)
class Case:
    """One op as a row sees it. `case['rows']` is a param.

    params: those of the record. nbytes: operand -> bytes it may touch, without those that are absent. signed: whether
    8-bit activations are held as value - 128. tile: the one of the row's tiles that is to be used.
    """

    params: Mapping[str, int | float]
    nbytes: Mapping[str, int]
    device: Capabilities
    signed: bool
    tile: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, param: str) -> int:
        return int(self.params[param])

    def has(self, operand: str) -> bool:
        """Whether the operand is there."""
        return operand in self.nbytes


@dataclass(frozen=True)
class Grid:
    """How one function is launched: work-items that have something to do, and those of a group, per dimension (up to
    three). The host rounds up to whole groups, so a kernel asks whether its place exists."""

    items: tuple[int, ...]
    group: tuple[int, ...]

    @property
    def rounded(self) -> tuple[int, ...]:
        """Work-items in whole groups, at least one of them."""
        return tuple(max(1, -(-n // g)) * g for n, g in zip(self.items, self.group, strict=True))


def _nothing(case: Case) -> Mapping[str, int]:
    return {}


def _never(case: Case) -> str:
    return ""


def _always(case: Case) -> bool:
    return True


def _none(case: Case) -> int:
    return 0


@dataclass(frozen=True)
class Twin:
    """One row.

    kernel: the CPU kernel whose records it runs. grid: a Grid for each function, in the order in which they run.
    source: file in cl/, default <kernel>.cl. functions: of that file, space separated, default <kernel>.
    uses: files of cl/ put before it. floats: params that are floats (all others are int32).
    writes: operands that it writes; everything else stays as it is.
    defines: constants of the source that depend on the op; another value is another program, so they are few.
    tiles: choices of constants to be tried by tune.py, the first one until then.
    suits: whether the tile of the case is worth trying on its device; all are, where none is.
    workspace: bytes of memory of its own, with unspecified content, as `workspace` in the source.
    refuses: why this op can not run on this device, '' if it can.
    exact: the CPU's bits, also where they are floats.
    halves: whether there is a form that multiplies in halves (HALF_MATH), for those who ask for it.
    """

    kernel: str
    grid: Callable[[Case], tuple[Grid, ...]]
    source: str = ""
    functions: str = ""
    uses: str = ""
    floats: str = ""
    writes: str = "y"
    defines: Callable[[Case], Mapping[str, int]] = _nothing
    tiles: tuple[Mapping[str, int], ...] = ({},)
    suits: Callable[[Case], bool] = _always
    workspace: Callable[[Case], int] = _none
    refuses: Callable[[Case], str] = _never
    exact: bool = False
    halves: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """Of cl/, in the order in which they are put together."""
        return (*self.uses.split(), self.source or f"{self.kernel}.cl")

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of the functions to launch."""
        return tuple((self.functions or self.kernel).split())


@cache
def twins() -> dict[str, Twin]:
    """Every twin by the name of its CPU kernel. Raises ValueError for a row that does not fit its kernel."""
    table: dict[str, Twin] = {}
    for family in FAMILIES:
        for twin in import_module(f"edgert.kernels_gpu.{family}").TWINS:
            spec = kernels().get(twin.kernel)
            if spec is None or twin.kernel in table:
                raise ValueError(f"twin {twin.kernel}: {'two of them' if spec else 'there is no such CPU kernel'}")
            unknown = set(twin.floats.split()) - set(spec.params.split())
            unknown |= set(twin.writes.split()) - set(spec.operands.split())
            if unknown:
                raise ValueError(f"twin {twin.kernel}: its kernel has no {', '.join(sorted(unknown))}")
            table[twin.kernel] = twin
    return table


def case_of(
    twin: Twin, params: Mapping[str, int | float], nbytes: Mapping[str, int], device: Capabilities, signed: bool
) -> Case:
    """What the row of `twin` sees of an op, with its first tile. nbytes: of the operands that are there."""
    return Case(params, nbytes, device, signed, twin.tiles[0])


def refusal(kernel: str, params: Mapping[str, int | float], nbytes: Mapping[str, int], device: Capabilities,
            signed: bool) -> str:  # fmt: skip
    """Why an op can not run on a device: '' if it can."""
    twin = twins().get(kernel)
    if twin is None:
        return f"{kernel} has no OpenCL form"
    return twin.refuses(case_of(twin, params, nbytes, device, signed))


def flat(count: int, group: int = 64) -> tuple[Grid, ...]:
    """A launch of `count` work-items in one dimension."""
    return (Grid((count,), (group,)),)
