"""Every architecture, in every form of its weights, is planned without a single operator left to the host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import CASES

from edgert.converters.llm.convert import convert_language_model
from edgert.format import Model, read_model
from edgert.graph.infer import infer_types
from edgert.kernels_cpu.levels import level_named
from edgert.plan.planner import make_plan

LEVELS = ["x86-64", "x86-64-v4-vnni", "armv8-a", "armv8.2-dotprod"]
OTHER_HEADS = ("llama_biased", "phi3_longrope")
"""Their weights do not fit heads of 16 numbers; they have the operators of their siblings."""


def with_wide_heads(config: dict[str, Any]) -> dict[str, Any]:
    """Half as many heads of 16 numbers where they had 8: the same shapes of weights, heads that kernels take."""
    if config.get("head_dim") == 16:
        return config
    counts = [key for key in ("num_attention_heads", "num_key_value_heads", "n_head") if key in config]
    return config | {key: config[key] // 2 for key in counts} | ({"head_dim": 16} if "head_dim" in config else {})


@pytest.fixture
def converted(tiny: Callable[..., Any], tmp_path: Path) -> Callable[[str, str], Model]:
    """converted(case, weights): the model of that name, with heads of 16 numbers."""

    def convert(case: str, weights: str) -> Model:
        folder = tmp_path / case
        folder.mkdir()
        model = tiny(case)
        model.config = with_wide_heads(model.config)
        convert_language_model(model.save(folder), tmp_path / f"{case}.edge", weights=weights)
        return read_model(tmp_path / f"{case}.edge")

    return convert


@pytest.mark.parametrize("weights", ["f32", "f16", "int8", "int4"])
@pytest.mark.parametrize("case", [case for case in CASES if case not in OTHER_HEADS])
def test_nothing_is_left_to_the_host(case: str, weights: str, converted: Callable[[str, str], Model]) -> None:
    model = converted(case, weights)
    cache = {"C": 32} if model.graph.states else {}
    for tokens in (1, 16):
        graph = infer_types(model.graph, {"T": tokens, **cache})
        for level in LEVELS:
            plan = make_plan(graph, model.tensors, level=level_named(level), threads=2, varying_rows=tokens > 1)
            left = [f"{step.node} ({step.op}): {step.reason}" for step in plan.steps if step.kind == "host"]
            assert not left, f"{level}, {tokens} tokens: " + "; ".join(left)


@pytest.mark.parametrize("case", ["llama", "bert"])
def test_norms_and_gates_make_what_products_read(case: str, converted: Callable[[str, str], Model]) -> None:
    model = converted(case, "int4")
    cache = {"C": 32} if model.graph.states else {}
    graph = infer_types(model.graph, {"T": 1, **cache})
    plan = make_plan(graph, model.tensors, level=level_named("x86-64-v4-vnni"), threads=1)
    kernels = [step.kernel.rsplit("_", 1)[0] for step in plan.steps if step.op in ("RMSNormalization", "GLU")]
    assert set(kernels) <= {"normalize_f32_g32", "glu_f32_g32"}
    conversions = [step.node for step in plan.steps if step.kind == "convert"]
    assert all("attention" in name or "norm" in name or "activation" in name for name in conversions), conversions
