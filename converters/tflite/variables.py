"""Variables of a TFLite graph while it is lifted: which tensor holds each one's value at this point.
The operators that read and assign them are in `lift_state.py`."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgert.graph.ir import Array, TensorType


@dataclass
class Variable:
    """type: None until it is read or assigned. past: the graph's input with the value of the last run, '' while none
    is needed. current: the tensor that holds the value here, '' while it is neither read nor assigned.
    initial: the value before the first run; None for zeros."""

    name: str
    type: TensorType | None = None
    past: str = ""
    current: str = ""
    initial: Array | None = None


@dataclass
class Variables:
    """Those of one graph. handles: resource tensor, or tensor that lives from run to run -> name of its variable."""

    handles: dict[int, str] = field(default_factory=dict)
    table: dict[str, Variable] = field(default_factory=dict)

    def named(self, name: str) -> Variable:
        """The variable called `name`, new if it is not known yet."""
        return self.table.setdefault(name, Variable(name))
