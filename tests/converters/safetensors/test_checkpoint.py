"""A folder of Hugging Face, whole or sharded, through the eyes of the architectures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.converters.llm.checkpoint import open_checkpoint
from edgert.errors import FormatError

numpy_format = pytest.importorskip("safetensors.numpy")

ARRAYS = {
    "embed.weight": np.arange(12, dtype=np.float32).reshape(4, 3),
    "norm.weight": np.ones(3, np.float32),
    "half.weight": np.arange(6, dtype=np.float16).reshape(2, 3),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in one file."""
    numpy_format.save_file(ARRAYS, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 3}))
    (tmp_path / "tokenizer.json").write_text('{"é": 1}', "utf-8")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    return tmp_path


@pytest.fixture
def sharded(folder: Path) -> Callable[..., Path]:
    """sharded(weight_map): the same in two files and an index."""

    def write(where: Any = None) -> Path:
        (folder / "model.safetensors").unlink()
        first, *rest = ARRAYS
        numpy_format.save_file({first: ARRAYS[first]}, folder / "a.safetensors")
        numpy_format.save_file({name: ARRAYS[name] for name in rest}, folder / "b.safetensors")
        default = {first: "a.safetensors", **dict.fromkeys(rest, "b.safetensors")}
        index = {"metadata": {"total_size": 1}, "weight_map": default if where is None else where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder

    return write


def check(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.format, checkpoint.path) == ("safetensors", folder)
    assert checkpoint.metadata == {"model_type": "llama", "hidden_size": 3}
    assert set(checkpoint.names) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert name in checkpoint
        assert checkpoint.shape(name) == array.shape
        assert checkpoint.load(name).dtype == np.float32
        assert np.array_equal(checkpoint.load(name), array)
    assert checkpoint.describe("half.weight") == "F16"
    exact = checkpoint.exact("half.weight")
    assert exact is not None
    assert exact.encoding == "f16"
    assert exact.values.dtype == np.float16
    assert np.array_equal(exact.values, ARRAYS["half.weight"])
    assert checkpoint.exact("norm.weight") is None


def test_one_file(folder: Path) -> None:
    check(folder)


def test_sharded(sharded: Callable[..., Path]) -> None:
    check(sharded())


def test_links_as_the_download_cache_makes_them(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    snapshot = tmp_path_factory.mktemp("snapshot")
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).symlink_to(folder / name)
    check(snapshot)


def test_a_single_file_with_and_without_its_configuration(folder: Path) -> None:
    file = folder / "model.safetensors"
    assert open_checkpoint(file).metadata["model_type"] == "llama"
    (folder / "config.json").unlink()
    assert open_checkpoint(file).metadata == {}


def test_texts_beside_the_tensors(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    assert checkpoint.text("tokenizer.json") == '{"é": 1}'
    assert checkpoint.text("1_Pooling/config.json") == "{}"
    assert checkpoint.text("generation_config.json") is None
    assert checkpoint.text("config.json/x") is None
    for name in ("", "/etc/hostname", "../secret", "a/../../b", "a\\b", "x\0"):
        with pytest.raises(FormatError, match="in the folder"):
            checkpoint.text(name)
    with pytest.raises(FormatError, match="a file of at most"):
        checkpoint.text("1_Pooling")
    (folder / "tokenizer.json").write_bytes(b"\xff")
    with pytest.raises(FormatError, match="UTF-8"):
        checkpoint.text("tokenizer.json")


def test_missing_tensor_is_named(folder: Path) -> None:
    with pytest.raises(FormatError, match=r"expected a tensor 'lm_head\.weight', found 3 others"):
        open_checkpoint(folder).load("lm_head.weight")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ([], "a weight_map"),
        ({"x": 1}, "a weight_map"),
        ({"x": "../a.safetensors"}, "in the folder"),
        ({"x": "/tmp/a.safetensors"}, "in the folder"),
        ({"x": "sub/a.safetensors"}, "in the folder"),
        ({"x": "..\\a.safetensors"}, "in the folder"),
        ({"x": "c:a.safetensors"}, "in the folder"),
        ({"x": "config.json"}, "in the folder"),
        ({"x": "missing.safetensors"}, "a file that can be read"),
        ({"x": "a.safetensors"}, "tensor 'x'"),
        ({"embed.weight": "b.safetensors", "half.weight": "a.safetensors"}, r"b\.safetensors: expected tensor 'embed"),
        ({str(number): f"{number}.safetensors" for number in range(1001)}, "at most 1000 files"),
    ],
)
def test_hostile_index(where: Any, message: str, sharded: Callable[..., Path]) -> None:
    with pytest.raises(FormatError, match=message):
        open_checkpoint(sharded(where))


def test_tensor_in_two_files(sharded: Callable[..., Path]) -> None:
    folder = sharded()
    numpy_format.save_file(ARRAYS, folder / "b.safetensors")
    with pytest.raises(FormatError, match=r"'embed\.weight' in two"):
        open_checkpoint(folder)


def test_folders_that_are_no_model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FormatError, match=r"found neither; a model saved as \.bin"):
        open_checkpoint(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(FormatError, match="a JSON object, found list"):
        open_checkpoint(folder)
    with pytest.raises(FormatError, match=r"no config\.json"):
        open_checkpoint(tmp_path_factory.mktemp("empty"))
    with pytest.raises(FormatError, match="can be read"):
        open_checkpoint(folder / "absent")
    (folder / "noise.bin").write_bytes(b"PK\3\4" * 100)
    with pytest.raises(FormatError, match="is this a safetensors file"):
        open_checkpoint(folder / "noise.bin")


@pytest.mark.model
def test_minilm(asset: Callable[[str], Path]) -> None:
    """Every tensor as the safetensors package reads it."""
    checkpoint = open_checkpoint(asset("minilm-l6"))
    assert checkpoint.metadata["model_type"] == "bert"
    assert len(checkpoint.names) == 104
    arrays = numpy_format.load_file(asset("minilm-l6") / "model.safetensors")
    for name in checkpoint.names:
        assert checkpoint.shape(name) == arrays[name].shape
        if checkpoint.describe(name) == "F32":
            assert checkpoint.load(name).tobytes() == arrays[name].tobytes()
    assert checkpoint.text("tokenizer.json") is not None
