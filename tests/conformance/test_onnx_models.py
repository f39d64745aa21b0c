"""ONNX's small models through a session: sequences, and what PyTorch exported over the years."""

from __future__ import annotations

import pytest
from suite import KINDS, cases, failure, not_passed

CASES = {name: case for kind in KINDS if kind != "node" for name, case in cases(kind).items()}


@pytest.mark.parametrize("name", sorted(CASES))
def test_model(name: str) -> None:
    message = failure(CASES[name], "session")
    if name in not_passed():
        assert message, f"{name} passes: take it off not_passed.json"
    else:
        assert not message
