"""Every architecture against what transformers computes with the same weights: logits, or vectors of an encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CASES, TOKENS

from edgert.converters.llm.importer import import_language_model
from edgert.graph.infer import infer_types

TOLERANCE = 2e-5


@pytest.mark.parametrize("case", sorted(CASES))
def test_same_as_transformers(case: str, tiny: Callable[..., Any], run: Callable[..., Any], tmp_path: Path) -> None:
    model = tiny(case)
    imported = import_language_model(model.save(tmp_path))
    infer_types(imported.graph)
    graph = imported.reference_graph()
    np.testing.assert_allclose(run(graph), model.expected, atol=TOLERANCE)
    if graph.states:
        np.testing.assert_allclose(run(graph, (3, 1, 1, len(TOKENS) - 5)), model.expected, atol=TOLERANCE)
    assert imported.info.task == ("text-generation" if graph.states else "text-embedding")
    assert set(imported.weights) == {name for name in graph.used() if name in imported.weights}


def test_positions_differ(tiny: Callable[..., Any], run: Callable[..., Any], tmp_path: Path) -> None:
    """The tolerance sees a wrong rope: plain and scaled ones differ by much more."""
    graphs = {}
    for case in ("llama_linear", "llama_yarn"):
        (tmp_path / case).mkdir()
        graphs[case] = import_language_model(tiny(case).save(tmp_path / case)).reference_graph()
    assert np.abs(run(graphs["llama_linear"]) - run(graphs["llama_yarn"])).max() > 1e-2
