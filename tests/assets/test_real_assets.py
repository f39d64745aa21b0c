"""The pinned assets can be had and are what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.model


def test_photos(asset: Callable[[str], Path]) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = asset("photos")
    with image.open(folder / "chelsea.png") as photo:
        assert photo.size == (451, 300)


def test_efficientnet_lite0_names_a_photo(asset: Callable[[str], Path]) -> None:
    """Run by ONNX Runtime, so that this is about the file that `pull` builds and nothing else."""
    runtime = pytest.importorskip("onnxruntime")
    image = pytest.importorskip("PIL.Image")
    session = runtime.InferenceSession(asset("efficientnet-lite0"))
    with image.open(asset("photos") / "coffee.png") as photo:
        width, height = photo.size
        left, top = (width - height) // 2, 0
        square = photo.convert("RGB").resize((224, 224), box=(left, top, left + height, height))
    x = ((np.asarray(square, np.float32) - 127) / 128).transpose(2, 0, 1)[None]
    (logits,) = session.run(None, {"input": x})
    assert logits.argmax() == 967  # espresso


def test_default_model_is_right_on_its_samples() -> None:
    runtime = pytest.importorskip("onnxruntime")
    image = pytest.importorskip("PIL.Image")
    from edgert.models import FASHION_MNIST, fashion_mnist_samples

    session = runtime.InferenceSession(FASHION_MNIST)
    samples = fashion_mnist_samples()
    assert [number for _, number in samples] == list(range(10))
    for path, number in samples:
        with image.open(path) as picture:
            x = np.asarray(picture, np.float32)[None, None] / 255
        assert session.run(None, {"image": x})[0].argmax() == number


def test_smollm2_is_the_file_that_was_measured(asset: Callable[[str], Path]) -> None:
    path = asset("smollm2-135m")
    assert path.name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert path.stat().st_size == 98_362_432
    with path.open("rb") as file:
        assert file.read(8) == b"GGUF" + (3).to_bytes(4, "little")


def test_minilm_is_a_folder_with_its_tokenizer(asset: Callable[[str], Path]) -> None:
    folder = asset("minilm-l6")
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 6
    assert json.loads((folder / "1_Pooling" / "config.json").read_text())["pooling_mode_mean_tokens"] is True
    assert (folder / "tokenizer.json").is_file()


def test_minilm_int8_is_an_onnx_model(asset: Callable[[str], Path]) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(asset("minilm-l6-int8"))
    assert {"input_ids", "attention_mask"} <= {value.name for value in model.graph.input}


def test_lee_similarities_are_of_fifty_texts(asset: Callable[[str], Path]) -> None:
    folder = asset("lee-similarity")
    similar = np.loadtxt(folder / "similarities0-1.txt")
    assert similar.shape == (50, 50)
    assert (similar == np.triu(similar)).all()
    assert np.count_nonzero(similar) == 50 * 51 // 2
    assert len((folder / "lee.cor").read_text("latin-1").splitlines()) == 50


def test_six_novels(asset: Callable[[str], Path]) -> None:
    novels = {path.name: path.read_text("utf-8") for path in asset("austen").glob("*.txt")}
    assert len(novels) == 6
    assert sum(map(len, novels.values())) > 3_900_000
    assert "\nIt is a truth universally acknowledged, that a single man in possession\n" in novels["prideprejudice.txt"]
    assert novels["emma.txt"].endswith("FINIS\n")


def test_wikipedia_is_prose(asset: Callable[[str], Path]) -> None:
    text = asset("wikipedia-sample").read_text("utf-8")
    assert text.startswith("Anarchism is a political philosophy")
    assert len(text) == 910603
    assert "'''" not in text
    assert "<ref>" not in text
