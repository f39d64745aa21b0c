"""KernelSpec: one row of the kernel table. The table itself is assembled in registry.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgert.kernels_cpu.abi import fields
from edgert.kernels_cpu.levels import Level


@dataclass(frozen=True)
class KernelSpec:
    """One kernel source. `name` is operator_encoding_layout; the level's symbol is appended in listings.

    module, function: where the source is (imported by the compiler only).
    operands, params: names of the record's fields, space separated, see abi.py.
    needs: ISA features without which this kernel does not exist (amx); '' compiles at every level.
    summary: one line for `edgert bench --kernels` and docs/kernels.md.
    """

    name: str
    module: str
    function: str
    operands: str
    params: str
    summary: str
    needs: str = ""

    @property
    def fields(self) -> Any:
        """Byte offsets of the record's fields, by name (a namedtuple)."""
        return fields(self.operands, self.params)

    def available(self, level: Level) -> bool:
        return not self.needs or self.needs in level.features

    def listed(self, level: Level) -> str:
        """The full name, with the ISA: conv2d_q8_k4p_avx512vnni. A kernel that needs a feature is named after it."""
        return self.name if self.needs else f"{self.name}_{level.symbol}"
