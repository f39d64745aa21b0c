"""Lowering rules: how graph nodes become op records. One file per kernel family; api.py is what they share.

Importing `load_rules` and calling it fills RULES; choosing among the offers is the planner's.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from edgert.plan.lowering.api import RULES, Rule


@cache
def load_rules() -> dict[str, list[Rule]]:
    """Operator -> its rules, from every module of this folder."""
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        import_module(f"{__name__}.{module}")
    return RULES
