"""run, inspect, bench and eval: what they print, what they refuse, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import expected, float_model, image, int8_model

from edgert.cli.main import main
from edgert.format import write_model


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cli") / "float.edge"
    write_model(float_model(), path)
    return str(path)


@pytest.fixture(scope="module")
def int8_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cli") / "int8.edge"
    write_model(int8_model(), path)
    return str(path)


@pytest.fixture
def photo(tmp_path: Path, rng: np.random.Generator) -> str:
    pillow = pytest.importorskip("PIL.Image")
    path = tmp_path / "photo.png"
    pillow.fromarray(rng.integers(0, 256, (20, 16, 3)).astype(np.uint8)).save(path)
    return str(path)


def call(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> tuple[str, str]:
    """(stdout, stderr) of a command that ends with `code`."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    assert code == 0 or "Traceback" not in captured.err
    return captured.out, captured.err


def call_json(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    out, _ = call(capsys, *words, "--json")
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


# ---- run
def test_run_names_an_image(capsys: pytest.CaptureFixture[str], model_file: str, photo: str) -> None:
    out, err = call(capsys, "run", model_file, photo, "--top", 3)
    assert len(out.splitlines()) == 3
    assert "label " in out
    assert err.splitlines()[-1].startswith("cpu ")
    assert "thread" in err
    assert "RAM" in err


def test_run_json(capsys: pytest.CaptureFixture[str], model_file: str, photo: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", image()["image"])
    found = call_json(capsys, "run", model_file, photo, tmp_path / "x.npy")
    assert [r["input"] for r in found["results"]] == ["photo.png", "x.npy"]
    assert len(found["results"][0]["answers"]) == 5
    right = expected(float_model(), image())["scores"]
    values = found["results"][1]["outputs"]["scores"]["values"]
    np.testing.assert_allclose(values, right, rtol=1e-4, atol=1e-4)


def test_run_arrays(capsys: pytest.CaptureFixture[str], int8_file: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **image(2))
    np.save(tmp_path / "x.npy", image(2)["image"])
    out, _ = call(capsys, "run", int8_file, tmp_path / "x.npz", "-o", tmp_path / "out.npz")
    assert "features float32 [2, 16, 12, 12] min" in out
    with np.load(tmp_path / "out.npz") as saved:
        right = expected(int8_model(), image(2))["features"]
        assert np.array_equal(saved["features"], right)
    named, _ = call(capsys, "run", int8_file, f"image={tmp_path / 'x.npy'}")
    assert named.split(": ", 1)[1] == out.split(": ", 1)[1]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["{model}"], 2, "expected an INPUT"),
        (["{model}", "missing.npy"], 2, "missing.npy"),
        (["{model}", "missing.png"], 2, "no such file"),
        (["{model}", "{text}"], 2, "expected an image, a .wav, an .npy or an .npz"),
        (["{model}", "{array}", "--ram", "1K"], 1, "smallest budget that works"),
        (["{model}", "{array}", "--ram", "much"], 2, "512M"),
        (["{model}", "{array}", "--shape", "N"], 2, "DIM=SIZE"),
        (["{model}", "{array}", "--shape", "M=1"], 2, "no dimension 'M'"),
        (["{model}", "{array}", "--threads", "0"], 2, "threads"),
        (["{model}", "{array}", "--device", "toaster"], 2, "expected 'cpu', 'opencl', 'opencl:N' or 'auto'"),
        (["{model}", "{wrong}"], 2, "float64; convert it"),
        (["{int8}", "{photo}"], 2, "does not say how an image"),
        (["{text}", "{array}"], 1, "expected"),
        (["missing.edge", "{array}"], 1, "no such file"),
        (["{model}", "{array}", "-o", "/nowhere/out.npz"], 2, "cannot write"),
        (["{model}", "{array}", "{array}", "-o", "out.npz"], 2, "expected one input"),
    ],
)
def test_run_refuses(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model_file: str, int8_file: str, photo: str,
    words: list[str], code: int, message: str,
) -> None:  # fmt: skip
    np.save(tmp_path / "x.npy", image()["image"])
    np.save(tmp_path / "wrong.npy", image()["image"].astype(np.float64))
    (tmp_path / "text.txt").write_text("not a model, and not an array either; long enough for a prelude, though")
    names = {"model": model_file, "int8": int8_file, "photo": photo}
    names |= {"array": tmp_path / "x.npy", "wrong": tmp_path / "wrong.npy", "text": tmp_path / "text.txt"}
    _, err = call(capsys, "run", *[word.format_map(names) for word in words], code=code)
    assert message in err


def test_arrays_of_objects_are_not_unpickled(
    capsys: pytest.CaptureFixture[str], model_file: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "evil.npy", np.array([{}], object), allow_pickle=True)
    _, err = call(capsys, "run", model_file, tmp_path / "evil.npy", code=2)
    assert "expected a plain .npy array" in err


# ---- inspect
def test_inspect_shows_the_file(capsys: pytest.CaptureFixture[str], model_file: str) -> None:
    out, _ = call(capsys, "inspect", model_file, "--verify")
    for words in ("test-float", "image float32 [N, 3, 12, 12]", "3 Conv", "label", "Apache-2.0", "dense float32 n4k1"):
        assert words in out
    found = call_json(capsys, "inspect", model_file)
    assert found["operators"]["Conv"] == 3
    assert found["bytes"] == Path(model_file).stat().st_size


def test_inspect_plans(capsys: pytest.CaptureFixture[str], model_file: str) -> None:
    out, _ = call(capsys, "inspect", model_file, "--plan", "--program", "--threads", 1)
    assert out.startswith("cpu ")
    assert "conv2d_f32_kp_" in out
    assert "arena+0x" in out
    found = call_json(capsys, "inspect", model_file, "--plan", "--program", "--shape", "N=2")
    assert len(found["program"]) == found["plan"]["ops"]


def test_inspect_plans_for_other_devices(capsys: pytest.CaptureFixture[str], int8_file: str) -> None:
    out, err = call(capsys, "inspect", int8_file, "--plan", "--device", "armv8.2-dotprod")
    assert "_dotprod" in out
    assert "not calibrated" in err
    _, err = call(capsys, "inspect", int8_file, "--plan", "--device", "toaster", code=2)
    assert "armv8-a" in err
    _, err = call(capsys, "inspect", int8_file, "--plan", "--ram", "1K", code=1)
    assert "smallest budget" in err


# ---- bench
def test_bench(capsys: pytest.CaptureFixture[str], model_file: str, tmp_path: Path) -> None:
    out, err = call(capsys, "bench", model_file, "--threads", "1,2", "--runs", 3, "--ops")
    assert out.count("median") == 2
    assert "Conv node_" in out
    assert "all conv2d_f32_kp_" in out
    assert "layers native" in err
    found = call_json(capsys, "bench", model_file, "--threads", "1", "--runs", 2, "--trace", tmp_path / "t.json")
    assert found["results"][0]["min_ms"] <= found["results"][0]["median_ms"] <= found["results"][0]["max_ms"]
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert {"ph", "pid", "tid", "name", "ts", "dur"} <= set(events[-1])
    _, err = call(capsys, "bench", model_file, "--threads", "two", code=2)
    assert "expected counts such as 1,2" in err
    _, err = call(capsys, "bench", model_file, "--runs", 1, "--trace", "/nowhere/t.json", code=2)
    assert "cannot write" in err


# ---- eval
def test_eval(capsys: pytest.CaptureFixture[str], model_file: str, tmp_path: Path) -> None:
    x = np.concatenate([image(seed=i)["image"] for i in range(6)])
    labels = expected(float_model(), {"image": x})["scores"].argmax(1)
    labels[0] = (labels[0] + 1) % 10
    np.savez(tmp_path / "data.npz", x=x, y=labels)
    out, _ = call(capsys, "eval", model_file, tmp_path / "data.npz")
    assert "top-1 83.33 %" in out
    found = call_json(capsys, "eval", model_file, tmp_path / "data.npz", "--limit", 1)
    assert (found["samples"], found["top1"]) == (1, 0)
    np.savez(tmp_path / "far.npz", x=x, y=labels + 90)
    _, err = call(capsys, "eval", model_file, tmp_path / "far.npz", code=2)
    assert "the model has 10 classes" in err
    np.savez(tmp_path / "bare.npz", x=x)
    _, err = call(capsys, "eval", model_file, tmp_path / "bare.npz", code=2)
    assert "labels" in err


# ---- all of them
@pytest.mark.parametrize("command", ["run", "inspect", "bench", "eval", "doctor", "quickstart"])
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    out, _ = call(capsys, command, "--help")
    assert f"edgert {command}" in out
    assert "--json" in out
