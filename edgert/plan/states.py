"""States in a plan: which layout each one lies in, as the one node that reads and updates it wants it.

Where they lie is the emitter's business; what they hold belongs to whoever runs the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgert.errors import UnsupportedError
from edgert.plan.offers import Options


def state_layouts(states: Mapping[str, str], every: Sequence[Options], chosen: Sequence[int]) -> dict[str, str]:
    """Past -> layout of each state.

    Raises UnsupportedError unless one node reads the past and makes the present of it, in the same layout.
    """
    layouts: dict[str, str] = {}
    for options, index in zip(every, chosen, strict=True):
        node, offer = options.node, options.options[index][0]
        if offer is None:
            continue
        made = dict(zip(filter(None, node.outputs), offer.out_layouts, strict=True))
        for name, layout in zip(node.inputs, offer.in_layouts, strict=True):
            if name not in states:
                continue
            if name in layouts or layout is None or made.get(states[name]) != layout:
                raise UnsupportedError(
                    f"state {name!r}: expected one node that reads it and makes {states[name]!r}, found {node.name!r} "
                    "among others"
                )
            layouts[name] = layout
    missing = [name for name in states if name not in layouts]
    if missing:
        raise UnsupportedError(f"state {missing[0]!r}: expected a node that reads it, found none")
    return layouts
