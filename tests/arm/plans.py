"""Which kernels a model takes at a level: what a test must have compiled, and no more."""

from __future__ import annotations

from pathlib import Path

from edgert.format import read_model
from edgert.graph.infer import infer_types
from edgert.kernels_cpu.levels import Level
from edgert.plan.planner import make_plan


def kernels_of(model: Path, level: Level) -> list[str]:
    """The kernels of the plan of the default model in one of its forms."""
    file = read_model(model)
    return list(make_plan(infer_types(file.graph, {"N": 1}), file.tensors, level=level, threads=2).program.kernels)
