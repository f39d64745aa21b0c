"""ONNX's node tests through a session and by the interpreter: every case passes but those in not_passed.json."""

from __future__ import annotations

import pytest
from suite import cases, failure, not_passed

CASES = cases("node")


@pytest.mark.parametrize("name", sorted(CASES))
def test_node(name: str) -> None:
    message = failure(CASES[name], "session")
    if name in not_passed():
        assert message, f"{name} passes: take it off not_passed.json"
    else:
        assert not message
        assert not failure(CASES[name], "reference")


def test_what_is_listed_exists() -> None:
    known = {name for kind in ("node", "simple", "pytorch-converted", "pytorch-operator") for name in cases(kind)}
    assert not_passed().keys() <= known
