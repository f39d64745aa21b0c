"""Shape functions of control flow: what If, Loop and Scan make is known when they have run.
What they compute is in `control.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import NeedsValue, operator


@operator("If", inputs=(1, None), dynamic=True)
@operator("Loop", inputs=(2, None), dynamic=True)
@operator("Scan", inputs=(1, None), dynamic=True)
def control(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """The number of turns and the branch taken depend on values, and with them the shapes."""
    raise NeedsValue("expected the values of its inputs, for what its bodies make depends on them")
