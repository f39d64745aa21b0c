"""SmolLM2-135M on a device: 200 tokens of greedy decoding are the processor's; where activations are rounded to 8 bits,
the first that is not was nearly a tie.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgert
from edgert.converters.convert import convert
from edgert.format import read_model
from edgert.kernels_gpu.device import DeviceInfo
from edgert.llm.decoder import Decoder

pytestmark = [pytest.mark.model, pytest.mark.long]

FORMS = {
    "q4": {"weights": "int4", "method": "rtn"},
    "group4": {"weights": "int4", "prune": "magnitude", "pattern": "group"},
}
PROMPT = "The river was high that spring, and the old bridge at Lowell"
TOKENS, CONTEXT = 200, 256
TIE = 4.0
"""Two logits are tied if they differ by less than so many times what rounding to 8 bits changes in one, which is a root
mean square."""


@pytest.fixture(scope="module", params=list(FORMS))
def model(
    request: pytest.FixtureRequest, asset: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("smollm2") / f"{request.param}.edge"
    convert(asset("smollm2-135m"), path, **FORMS[request.param])
    return path


def greedy(model: Path, device: str, activations: str) -> tuple[list[int], list[int]]:
    """(The prompt, what follows it)."""
    with edgert.LLM(model, n_ctx=CONTEXT, activations=activations, device=device, threads=2) as llm:
        prompt = llm.tokenize(PROMPT)
        return prompt, [token.id for token in llm.generate(prompt, temperature=0, max_tokens=TOKENS)]


def forced(model: Path, prompt: list[int], text: list[int], device: str, activations: str) -> np.ndarray:
    """The logits from which each token of `text` is taken, float32 [len(text), V], in units of their deviation."""
    decoder = Decoder(read_model(model), n_ctx=CONTEXT, activations=activations, device=device, threads=2)
    decoder.prefill(prompt[:-1])
    logits = np.stack([decoder.decode(token).copy() for token in (prompt[-1], *text[:-1])])
    decoder.close()
    return logits / logits.std(1, keepdims=True)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


def test_the_same_text(model: Path, device: DeviceInfo) -> None:
    prompt, right = greedy(model, "cpu", "int16")
    assert len(right) == TOKENS
    assert greedy(model, device.spec, "int16") == (prompt, right)


def test_another_text_only_after_a_tie(model: Path, device: DeviceInfo) -> None:
    """Activations of 8 bits are rounded up on the one side and down on the other once sums differ in their last bits.
    Both are then as far from each other as from the model whose activations have 16 bits."""
    prompt, right = greedy(model, "cpu", "int8")
    _, found = greedy(model, device.spec, "int8")
    assert len(right) == TOKENS
    cpu = forced(model, prompt, right, "cpu", "int8")
    other = forced(model, prompt, right, device.spec, "int8")
    rounding = difference(cpu, forced(model, prompt, right, "cpu", "int16"))
    assert difference(cpu, other) <= 1.5 * rounding
    # Beside the very text of the processor, every other choice is one between two that were tied.
    rows = np.arange(TOKENS)
    np.testing.assert_array_equal(cpu.argmax(1), right)
    gaps = cpu.max(1) - cpu[rows, other.argmax(1)]
    assert gaps.max() < TIE * rounding
    pairs = zip(right, found, strict=False)
    first = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    said = f"{model.stem} on {device.platform}: rounding {rounding:.3f}, difference {difference(cpu, other):.3f}, "
    said += f"{np.count_nonzero(gaps)} of {TOKENS} choices differ by at most {gaps.max():.3f}; "
    if first is not None:
        gap = cpu[first, right[first]] - cpu[first, found[first]]
        assert gap < TIE * rounding
        said += f"token {first} is the first other one, by {gap:.3f}"
    print(said)
