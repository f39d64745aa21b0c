"""The wake word app: frame by frame with a state, on a tiny model and on real speech."""

from __future__ import annotations

import io
import json
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import edgert
from edgert.apps.keyword_spotting import FEATURE_SCALE, WakeWord, main, read_settings, samples_of
from edgert.audio import MicroFrontend, read_wav
from edgert.audio.wav import as_int16
from edgert.format import Model, ModelInfo, write_model
from edgert.graph.ir import Graph, Node, TensorType


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Probability: half of the last one, and half of 1 where the mean feature is above 6, else 0."""
    one = TensorType("float32", (1, 1, 1))
    graph = Graph(
        "loud", ["x", "p"], ["y", "q"],
        [
            Node("ReduceMean", ("x", "axes"), ("mean",), {"keepdims": 1}, "mean"),
            Node("Sub", ("mean", "six"), ("over",), name="over"),
            Node("Mul", ("over", "steep"), ("scaled",), name="scale"),
            Node("Sigmoid", ("scaled",), ("now",), name="now"),
            Node("Add", ("now", "p"), ("sum",), name="sum"),
            Node("Mul", ("sum", "half"), ("q",), name="half"),
            Node("Neg", ("q",), ("minus",), name="minus"),
            Node("Neg", ("minus",), ("y",), name="y"),
        ],
        {"x": TensorType("float32", (1, 3, 40)), "p": one, "q": one, "y": one},
    )  # fmt: skip
    graph.add_constant("axes", np.array([1, 2]))
    for name, value in (("six", 6.0), ("steep", 50.0), ("half", 0.5)):
        graph.add_constant(name, np.array(value, np.float32))
    graph.states = {"p": "q"}
    write_model(Model(graph, info=ModelInfo("loud")), tmp_path / "loud.edge")
    return str(tmp_path / "loud.edge")


def samples() -> np.ndarray:
    """Silence, half a second of loud noise, and faint noise: two seconds."""
    noise = np.random.default_rng(0).standard_normal(32000) * 30
    noise[:12000] = 0
    noise[12000:20000] *= 400
    return noise.astype(np.int16)


@pytest.fixture
def sound(tmp_path: Path) -> str:
    with wave.open(str(tmp_path / "sound.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(samples().astype("<i2").tobytes())
    return str(tmp_path / "sound.wav")


def test_it_hears(model: str, sound: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "loud.json"
    settings.write_text(
        json.dumps({"wake_word": "Noise", "micro": {"probability_cutoff": 0.6, "sliding_window_size": 3}})
    )
    assert main([model, sound, "--settings", str(settings)]) == 0
    out = capsys.readouterr().out
    assert out.count("Noise") == 1 and out.startswith(f"{sound}: 0.")


def test_silence(model: str, sound: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([model, sound, "--cutoff", "1.5", "-v"]) == 1
    out = capsys.readouterr().out
    assert "nothing heard" in out and out.count("mean") == 66


def test_a_microphone(model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    raw = SimpleNamespace(buffer=io.BytesIO(samples().astype("<i2").tobytes() + b"\0"))
    monkeypatch.setattr(sys, "stdin", raw)
    assert main([model, "-", "--cutoff", "0.6"]) == 0
    assert "loud" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--window", "0"], ["--settings", "none.json"]])
def test_wrong_use(model: str, sound: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([model, sound, *words]) == 2
    assert "error: " in capsys.readouterr().err


def test_another_model(sound: str, default_model: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(default_model("f32")), sound]) == 2
    assert "wake word" in capsys.readouterr().err


WORDS = ("alexa", "hey_jarvis", "hey_mycroft", "okay_nabu")

SILENCE = (4800, 8000)
"""Samples before and behind a word, so that the models have begun to listen and the last frames come through."""


def spoken() -> dict[str, np.ndarray]:
    """Each wake word as int16 samples at 16 kHz: said by eSpeak NG 1.51 (`-s 140`, voices en-gb and, for hey_jarvis,
    en-us+f3), resampled, and stored in 8 bits by the mu-law of G.711 without its segments."""
    with np.load(Path(__file__).with_name("spoken_words.npz")) as stored:
        found = {name: stored[name].astype(np.float64) for name in stored.files}
    heights = {name: np.expm1(np.abs(x) / 127 * np.log(256)) / 255 * 32768 for name, x in found.items()}
    return {name: np.pad((np.sign(found[name]) * x).round().astype(np.int16), SILENCE) for name, x in heights.items()}


def by_litert(source: Path, samples: np.ndarray) -> tuple[np.ndarray, float]:
    """(LiteRT's probability for every three frames of `samples`, one step of it); its state is its own."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(str(source), num_threads=1)
    interpreter.allocate_tensors()
    (into,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    (scale, zero), step = into["quantization"], out["quantization"][0]
    features = MicroFrontend().process(samples) * FEATURE_SCALE
    found = []
    for rows in features[: len(features) // 3 * 3].reshape(-1, 1, 3, 40):
        interpreter.set_tensor(into["index"], np.clip(np.rint(rows / scale + zero), -128, 127).astype(np.int8))
        interpreter.invoke()
        found.append(float(interpreter.get_tensor(out["index"]).item()) * step)
    return np.array(found), step


@pytest.mark.model
@pytest.mark.parametrize("name", WORDS)
def test_probabilities_are_those_of_litert_over_whole_recordings(
    name: str, asset: Callable[[str], Path], tmp_path: Path
) -> None:
    """Every frame of four recordings, the state kept from first to last, within one step of the output."""
    from edgert.converters.convert import convert

    source, speech = asset("wake-words") / f"{name}.tflite", asset("speech")
    convert(source, tmp_path / "word.edge")
    with edgert.load(tmp_path / "word.edge", threads=1) as session:
        for file in ("card-1.wav", "card-5.wav", "austen-0880.wav", "austen-0930.wav"):
            word = WakeWord(session, 0.5)
            ours = [found[1] for found in word.listen(samples_of(str(speech / file), 16000))]
            theirs, step = by_litert(source, as_int16(read_wav(speech / file).mono))
            assert len(ours) == len(theirs) > 30
            assert np.abs(np.array(ours) - theirs).max() <= 1.01 * step


@pytest.mark.model
@pytest.mark.parametrize("name", WORDS)
def test_each_word_wakes_its_own_model_and_no_other(name: str, asset: Callable[[str], Path], tmp_path: Path) -> None:
    """With the settings beside the model, LiteRT's probability at every step; and only because it remembers."""
    from edgert.converters.convert import convert

    source = asset("wake-words") / f"{name}.tflite"
    convert(source, tmp_path / "word.edge")
    _, cutoff, window = read_settings(source.with_suffix(".json"))
    with edgert.load(tmp_path / "word.edge", threads=1) as session:
        for said, samples in spoken().items():
            word = WakeWord(session, cutoff, window)
            steps = list(word.listen(np.array_split(samples, 9)))
            assert (max(mean for _, _, mean in steps) > cutoff) == (said == name), said
            theirs, step = by_litert(source, samples)
            assert np.abs(np.array([found[1] for found in steps]) - theirs).max() <= 1.01 * step
        forgetful = WakeWord(session, cutoff, window)
        forgetful.state = SimpleNamespace(run=session.run)  # type: ignore[assignment]
        assert max(mean for _, _, mean in forgetful.listen([spoken()[name]])) < cutoff


@pytest.mark.model
def test_other_speech_wakes_nobody(
    asset: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgert.converters.convert import convert

    words, speech = asset("wake-words"), sorted(map(str, asset("speech").glob("*.wav")))
    for name in WORDS:
        convert(words / f"{name}.tflite", tmp_path / "word.edge")
        assert main([str(tmp_path / "word.edge"), *speech, "--settings", str(words / f"{name}.json")]) == 1
        assert capsys.readouterr().out.count("nothing heard") == len(speech) == 10
