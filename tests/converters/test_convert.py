"""From an ONNX file to a .edge file, through the API and the command line; or one clear error and no file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgert.cli.main import main
from edgert.converters.convert import convert
from edgert.errors import ConversionError, EdgertError, FormatError, InputError, UnsupportedError
from edgert.format import Preprocessing, read_model
from edgert.graph.execute import run_graph


@pytest.fixture
def model(mobile: Any) -> Path:
    net, y = mobile
    return net.save(y)  # type: ignore[no-any-return]


@pytest.fixture
def calibration(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "calibration.npz"
    labels = np.arange(12) % 10
    np.savez(path, x=rng.standard_normal((12, 3, 24, 24)).astype(np.float32), y=labels)
    return path


def test_float(model: Path, mobile: Any, tmp_path: Path) -> None:
    result = convert(model, tmp_path / "out.edge")
    assert result.report.bytes_after <= result.report.bytes_before + 4096
    read = read_model(tmp_path / "out.edge")
    assert read.source["format"] == "onnx"
    assert len(read.source["sha256"]) == 64
    assert read.info.name == "net"
    feeds = mobile[0].feeds()
    found = run_graph(read.unpacked_graph(), feeds)
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(found[mobile[1]], session.run(None, feeds)[0], rtol=1e-4, atol=1e-4)


def test_int8_with_report(model: Path, calibration: Path, tmp_path: Path) -> None:
    stages: set[str] = set()
    result = convert(
        model, tmp_path / "out.edge", weights="int8", calib=calibration, report_path=tmp_path / "report.json",
        progress=lambda stage, done, total: stages.add(stage),
    )  # fmt: skip
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == read_model(tmp_path / "out.edge").report
    assert report["weights"] == "int8"
    assert report["bytes_after"] < 0.7 * report["bytes_before"]
    assert report["accuracy"]["samples"] == 12
    assert report["calibration"]["samples"] == 12
    assert min(layer["sqnr_db"] for layer in report["layers"]) > 15
    assert {"import", "calibrate", "correct bias", "accuracy before", "accuracy after"} <= stages
    assert "top-1 on 12 samples" in result.report.table()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["calibration.npz", "net.onnx", "out.edge", "report.json"]


def test_a_quantized_source_stays_as_it_is(model: Path, calibration: Path, tmp_path: Path) -> None:
    from edgert.converters.onnx.exporter import export_onnx

    first = convert(model, tmp_path / "out.edge", weights="int8", calib=calibration)
    graph = first.model.unpacked_graph()
    export_onnx(graph, tmp_path / "int8.onnx")
    second = convert(tmp_path / "int8.onnx", tmp_path / "again.edge", weights="int8", calib=calibration)
    assert not second.report.calibration
    feeds = {"x": np.load(calibration)["x"][:1]}
    for name, value in run_graph(graph, feeds).items():
        np.testing.assert_array_equal(run_graph(second.model.unpacked_graph(), feeds)[name], value)


def test_largest_loss(model: Path, calibration: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.edge"
    with pytest.raises(ConversionError, match=r"the loss is -?\d+\.\d\d \(points of top-1 accuracy\)"):
        convert(model, out, weights="int8", calib=calibration, max_loss=-101, report_path=tmp_path / "r.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["calibration.npz", "net.onnx"]
    convert(model, out, weights="int8", calib=calibration, max_loss=100)
    assert out.exists()


def test_an_interrupted_conversion_leaves_nothing(model: Path, calibration: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.edge"
    out.write_bytes(b"an older file")

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "correct bias" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(model, out, weights="int8", calib=calibration, report_path=tmp_path / "r.json", progress=interrupt)
    assert out.read_bytes() == b"an older file"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_failing_write_leaves_nothing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise EdgertError("no space left on device")

    monkeypatch.setattr("edgert.converters.finish.write_model", full)
    with pytest.raises(EdgertError, match="no space"):
        convert(model, tmp_path / "out.edge", report_path=tmp_path / "r.json")
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"weights": "int8"}, ConversionError, "--calib"),
        ({"weights": "int3"}, ConversionError, "f32, int8"),
        ({"max_loss": 1.0}, ConversionError, "int8"),
        ({"weights": "int8", "calib": "missing"}, InputError, "missing"),
        ({"weights": "int8", "calib": "net.onnx"}, InputError, "onnx"),
        ({"weights": "int8", "calib": "calibration.npz", "observer": "median"}, ConversionError, "observer"),
        ({"weights": "int8", "calib": "calibration.npz", "samples": 0}, ConversionError, "sample"),
    ],
)
def test_options_that_make_no_sense(
    model: Path, calibration: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    if "calib" in options:
        options = {**options, "calib": tmp_path / options["calib"]}
    with pytest.raises(error, match=words):
        convert(model, tmp_path / "out.edge", **options)
    assert not (tmp_path / "out.edge").exists()


def test_sources_that_are_none(tmp_path: Path) -> None:
    out = tmp_path / "out.edge"
    with pytest.raises(InputError, match="no such file"):
        convert(tmp_path / "missing.onnx", out)
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"\.onnx"):
        convert(tmp_path / "model.pt", out)
    (tmp_path / "bad.onnx").write_bytes(b"no protobuf at all")
    with pytest.raises(FormatError):
        convert(tmp_path / "bad.onnx", out)
    with pytest.raises(InputError, match="folder"):
        convert(tmp_path / "bad.onnx", tmp_path / "nowhere" / "out.edge")


def test_images_need_preprocessing(model: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    pillow = pytest.importorskip("PIL.Image")
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(3):
        pillow.fromarray(rng.integers(0, 256, (40, 30, 3)).astype(np.uint8)).save(photos / f"{i}.png")
    with pytest.raises(InputError, match="--input-size"):
        convert(model, tmp_path / "out.edge", weights="int8", calib=photos)
    steps = Preprocessing("x", (24, 24), 28, mean=[127.0], scale=[1 / 128])
    convert(
        model, tmp_path / "out.edge", weights="int8", calib=photos, preprocessing=steps,
        labels=[str(i) for i in range(10)],
    )  # fmt: skip
    info = read_model(tmp_path / "out.edge").info
    assert (info.preprocessing, info.task) == (steps, "image-classification")


def test_command_line(model: Path, calibration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, labels = tmp_path / "out.edge", tmp_path / "labels.txt"
    labels.write_text("\n".join("abcdefghij") + "\n")
    words = [
        "convert", model, "-o", out, "--weights", "int8", "--calib", calibration, "--json", "--labels", labels,
        "--input-size", "24x20", "--resize", "32", "--mean", "1,2,3", "--scale", "0.5", "--no-equalize",
    ]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["bytes"] == out.stat().st_size
    assert answer["report"]["calibration"]["equalize"] is False
    info = read_model(out).info
    assert info.labels == list("abcdefghij")
    assert info.preprocessing == Preprocessing("x", (24, 20), 32, mean=[1.0, 2.0, 3.0], scale=[0.5])


@pytest.mark.parametrize(
    "words",
    [["--mean", "1,2"], ["--mean", "1"], ["--input-size", "0"], ["--input-size", "axb"], ["--weights", "int5"], []],
)
def test_command_line_errors(model: Path, tmp_path: Path, words: list[str]) -> None:
    out = ["-o", str(tmp_path / "out.edge")] if words else []
    assert main(["convert", str(model), *out, *words]) == 2
    assert not (tmp_path / "out.edge").exists()


def test_check(net: Any, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []
    net.nodes.clear()
    bad = net.save(net.op("NonMaxSuppression", "x", "x"), net.op("Det", "x"))
    assert main(["check", str(bad)]) == 1
    shown = capsys.readouterr().out
    assert "NonMaxSuppression" in shown
    assert "Det" in shown
    assert main(["check", str(model.with_name("missing.onnx"))]) == 2
    with pytest.raises(UnsupportedError, match="Det"):
        convert(bad, model.with_name("out.edge"))
