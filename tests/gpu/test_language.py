"""Language models on a device: the CPU's logits nearly, one cache for all programs, and that cache as data."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "llm"))

import small_decoder as tiny

from edgert.errors import DeviceError, DeviceMemoryError, InputError
from edgert.kernels_gpu.device import DeviceInfo
from edgert.llm.decoder import Decoder
from edgert.plan import devices
from edgert.plan.emitter import STATE
from edgert.program import Op
from edgert.runtime import accelerator as module
from edgert.runtime.shared_ram import SharedRam

IDS = np.random.default_rng(3).integers(0, tiny.VOCABULARY, 40).tolist()
Rule = Callable[[int, Op], str]


def near(found: np.ndarray, right: np.ndarray) -> None:
    """Rounding to 8 bits may fall to the other side: within what the processor's own answers differ from the float
    model's (tests/llm/test_decoder.py)."""
    assert np.sqrt(np.mean((found - right) ** 2)) < 0.03 * right.std()


def deny(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Kernels with `word` in their name stay on the processor."""
    usual = module.wherever_possible

    def fewer(*args: object) -> Rule:
        choose = usual(*args)  # type: ignore[arg-type]
        return lambda index, op: f"no {word} here" if word and word in op.kernel else choose(index, op)

    monkeypatch.setattr(module, "wherever_possible", fewer)


@pytest.mark.parametrize(
    ("elsewhere", "kv", "unified"),
    [
        ("", "f16", True), ("", "int8", False), ("attention", "f16", True), ("attention", "f16", False),
        ("rope", "f16", False), ("rope", "int8", True), ("matvec", "f16", False),
    ],
)  # fmt: skip
def test_logits(
    elsewhere: str, kv: str, unified: bool, device: DeviceInfo, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Prefill, a short run and single tokens share the cache, wherever it is written and read."""
    deny(monkeypatch, elsewhere)
    usual = module.choose
    can = replace(device.capabilities, unified=unified)
    monkeypatch.setattr(module, "choose", lambda spec: replace(usual(spec), capabilities=can))
    model = tiny.tiny_decoder("q4m")
    cpu, other = (Decoder(model, threads=1, kv=kv, chunk=16, device=name) for name in ("cpu", device.spec))
    for decoder in (cpu, other):
        decoder.prefill(IDS[:20])
        decoder.prefill(IDS[20:23])
    for token in IDS[23:30]:
        near(other.decode(token), cpu.decode(token))
    near(other.score(IDS[30:36]), cpu.score(IDS[30:36]))
    near(other.decode(IDS[36]), cpu.decode(IDS[36]))
    for decoder in (cpu, other):
        decoder.truncate(10)
    near(other.decode(IDS[37]), cpu.decode(IDS[37]))
    # The cache as data, from the one to the other and back.
    for source, target in ((cpu, other), (other, cpu)):
        target.import_cache(source.export_cache(), source.n_past)
        near(target.decode(IDS[38]), source.decode(IDS[38]))
    other.profile(3)
    near(other.decode(IDS[39]), cpu.decode(IDS[39]))
    assert other.summary().startswith(device.short)
    other.close()


def test_between_runs_the_device_has_the_cache(device: DeviceInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that share it can not know which of them ran before."""
    deny(monkeypatch, "_kv")
    other = Decoder(tiny.tiny_decoder("q4m"), threads=1, device=device.spec)
    other.decode(1)
    placement = other._ready["decode"].placement  # type: ignore[attr-defined]
    assert placement.settles[STATE], "what the processor wrote is handed over"
    first = next(part for part in placement.parts if not part.on_device and part.touches[STATE])
    assert devices.size(first.arrives[STATE]) > 0


def test_what_a_device_does_not_do(device: DeviceInfo) -> None:
    model = tiny.tiny_decoder("q4m")
    with pytest.raises(InputError, match="expected stream 'auto' or 'never'"):
        Decoder(model, device=device.spec, stream="always")
    with pytest.raises(InputError, match="shared budget"):
        Decoder(model, device=device.spec, ram=SharedRam("100M"))
    with pytest.raises(InputError, match="expected 'cpu', 'opencl', 'opencl:N' or 'auto'"):
        Decoder(model, device="tpu")


def test_auto_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(spec: str) -> DeviceInfo:
        raise DeviceError("expected an OpenCL platform, found none; install one", "no OpenCL platform was found")

    monkeypatch.setattr(module, "choose", none)
    model = tiny.tiny_decoder("q4m")
    cpu, auto = (Decoder(model, threads=1, device=name) for name in ("cpu", "auto"))
    for decoder in (cpu, auto):
        decoder.prefill(IDS[:20])
    np.testing.assert_array_equal(auto.decode(IDS[20]), cpu.decode(IDS[20]))
    assert auto.summary() == f"device auto: the processor, since no OpenCL platform was found, {cpu.summary()}"
    with pytest.raises(DeviceError, match="found none"):
        Decoder(model, device="opencl")


@pytest.mark.parametrize("what", ["mirror", "executable"])
def test_auto_on_a_device_with_too_little_memory(
    what: str, device: DeviceInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the cache does not fit or the weights do not, the processor has both."""

    def refuse(self: object, *args: object) -> None:
        raise DeviceMemoryError(f"the {what} takes 9 MB on {device.spec}, which has 1 MB; use smaller shapes")

    monkeypatch.setattr(module.Accelerator, what, refuse)
    model = tiny.tiny_decoder("q4m")
    cpu, auto = (Decoder(model, threads=1, device=name) for name in ("cpu", "auto"))
    for decoder in (cpu, auto):
        decoder.prefill(IDS[:20])
    near(auto.decode(IDS[20]), cpu.decode(IDS[20]))
    assert f"device auto: the processor, since the {what} takes 9 MB on {device.spec}, " in auto.summary()
    with pytest.raises(DeviceMemoryError):
        Decoder(model, device=device.spec).decode(IDS[0])
