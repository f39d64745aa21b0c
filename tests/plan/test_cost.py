"""Predicted times: slow and emulated machines keep their kernels, and peaks exist for every level."""

from __future__ import annotations

from dataclasses import replace

import pytest
from networks import float_model, int8_model

from edgert.format import Model
from edgert.graph.infer import infer_types
from edgert.kernels_cpu.levels import LEVELS
from edgert.plan.cost import DEFAULT_PEAKS, Peaks, host_slowdown, predict_host_us
from edgert.plan.plan import Plan
from edgert.plan.planner import make_plan

LEVEL = LEVELS["armv8-a"]
USUAL = DEFAULT_PEAKS[LEVEL.name]
EMULATED = Peaks(4e8, 3e7, 2e9, 8e9, "measured")
"""As `edgert doctor` measures them where another processor is emulated."""


def test_every_level_has_peaks() -> None:
    assert DEFAULT_PEAKS.keys() >= LEVELS.keys()


def test_the_host_is_as_slow_as_the_slowest_peak() -> None:
    assert host_slowdown(LEVEL, USUAL) == 1
    assert host_slowdown(LEVEL, replace(USUAL, dot8=2 * USUAL.dot8)) == 1
    for unit in ("dot8", "fma32", "bytes", "stream"):
        assert host_slowdown(LEVEL, replace(USUAL, **{unit: getattr(USUAL, unit) / 8})) == 8
    assert predict_host_us(1000, 1000, 8) == 8 * predict_host_us(1000, 1000)


@pytest.mark.parametrize("model", [float_model(), int8_model()], ids=["float", "int8"])
@pytest.mark.parametrize(
    "peaks", [EMULATED, replace(USUAL, dot8=1e7), replace(USUAL, fma32=1e6), replace(USUAL, bytes=1e6, stream=1e5)]
)
def test_slow_machines_keep_their_kernels(model: Model, peaks: Peaks) -> None:
    def plan(peaks: Peaks) -> Plan:
        return make_plan(infer_types(model.graph, {"N": 1}), model.tensors, level=LEVEL, threads=1, peaks=peaks)

    kernels = {step.node: step.kind for step in plan(USUAL).steps if step.kind != "convert"}
    assert {step.node: step.kind for step in plan(peaks).steps if step.kind != "convert"} == kernels
    assert "host" not in kernels.values()
