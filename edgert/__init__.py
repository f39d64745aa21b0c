"""edgert: neural networks on small devices. `edgert.load(path)` gives a Session, `edgert.LLM(path)` a language model.

Only names live here, and each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgert import errors
    from edgert.errors import (
        ConversionError,
        EdgertError,
        FormatError,
        InputError,
        KernelError,
        MemoryBudgetError,
        UnsupportedError,
    )
    from edgert.llm.llm import LLM
    from edgert.runtime.session import Session, load
    from edgert.runtime.shared_ram import SharedRam

__version__ = "0.1.0"

# Public name -> the module that defines it. Listed, not imported: NumPy alone takes most of the time
# in which `import edgert` must be done.
_HOME = {
    "load": "edgert.runtime.session",
    "Session": "edgert.runtime.session",
    "SharedRam": "edgert.runtime.shared_ram",
    "LLM": "edgert.llm.llm",
    "EdgertError": "edgert.errors",
    "FormatError": "edgert.errors",
    "UnsupportedError": "edgert.errors",
    "InputError": "edgert.errors",
    "MemoryBudgetError": "edgert.errors",
    "KernelError": "edgert.errors",
    "ConversionError": "edgert.errors",
}

__all__ = [
    "LLM",
    "ConversionError",
    "EdgertError",
    "FormatError",
    "InputError",
    "KernelError",
    "MemoryBudgetError",
    "Session",
    "SharedRam",
    "UnsupportedError",
    "__version__",
    "errors",
    "load",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("edgert.errors")
    if name not in _HOME:
        raise AttributeError(f"module 'edgert' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
