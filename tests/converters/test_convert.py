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
        "--input-size", "24", "--resize", "32", "--mean", "1,2,3", "--scale", "0.5", "--no-equalize",
    ]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["bytes"] == out.stat().st_size
    assert answer["report"]["calibration"]["equalize"] is False
    info = read_model(out).info
    assert info.labels == list("abcdefghij")
    assert info.preprocessing == Preprocessing("x", (24, 24), 32, mean=[1.0, 2.0, 3.0], scale=[0.5])


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
    bad = net.save(net.op("NonMaxSuppression", "x", "x"), net.op("RandomUniformLike", "x"))
    assert main(["check", str(bad)]) == 1
    shown = capsys.readouterr().out
    assert "NonMaxSuppression" in shown
    assert "RandomUniformLike" in shown
    assert main(["check", str(model.with_name("missing.onnx"))]) == 2
    with pytest.raises(UnsupportedError, match="RandomUniformLike"):
        convert(bad, model.with_name("out.edge"))


@pytest.fixture
def wide(net: Any) -> Path:
    """A network with convolutions wide enough to prune, on [N, 8, 12, 12], to 6 classes."""
    net.shape = ("N", 8, 12, 12)
    x = net.op("Relu", net.bn(net.conv("x", 8, 32, 3), 32))
    x = net.op("Relu", net.bn(net.conv(x, 32, 32, 3, group=32), 32))
    y = net.op("Relu", net.bn(net.conv(x, 32, 48), 48))
    x = net.op("Add", x, net.bn(net.conv(y, 48, 32, 3), 32))
    x = net.op("Flatten", net.op("GlobalAveragePool", x))
    return net.save(  # type: ignore[no-any-return]
        net.op("Gemm", x, net.const(net.rng.standard_normal((6, 32))), net.const(np.zeros(6)), transB=1)
    )


@pytest.fixture
def samples(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "samples.npz"
    np.savez(path, x=rng.standard_normal((16, 8, 12, 12)).astype(np.float32), y=np.arange(16) % 6)
    return path


@pytest.mark.parametrize("weights", ["f32", "int8"])
@pytest.mark.parametrize("prune", ["magnitude", "wanda", "sparsegpt"])
def test_pruned(wide: Path, samples: Path, tmp_path: Path, weights: str, prune: str) -> None:
    dense = convert(wide, tmp_path / "dense.edge", weights=weights, calib=samples)
    result = convert(wide, tmp_path / "out.edge", weights=weights, calib=samples, prune=prune, sparsity=0.75)
    model = read_model(tmp_path / "out.edge")
    sparse = [tensor for tensor in model.tensors.values() if tensor.sparse]
    assert len(sparse) == 2
    assert all(tensor.encoding == "block" for tensor in sparse)
    assert result.report.bytes_after < 0.6 * dense.report.bytes_after
    report = model.report
    assert report["pruning"]["criterion"] == prune
    assert sorted(report["pruning"]["left_dense"].values()) == ["a matrix product", "depthwise", "the first layer"]
    assert [bool(layer["pattern"]) for layer in report["stored"]] == [False, False, True, True, False]
    assert report["accuracy"]["samples"] == 16
    shown = result.report.table()
    assert f"pruned 2 layers by {prune}, 4x4 75 %" in shown
    assert "top-1 on 16 samples" in shown
    feeds = {"x": np.load(samples)["x"]}
    graph = model.unpacked_graph()
    found, wanted = run_graph(graph, feeds), run_graph(result.model.unpacked_graph(), feeds)
    for name in graph.outputs:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_pruned_network_runs_elsewhere(wide: Path, samples: Path, tmp_path: Path) -> None:
    """Exported, its zeros are written out; converted again, they are found."""
    import onnxruntime

    from edgert.converters.onnx.exporter import export_onnx

    for weights in ("f32", "int8"):
        convert(wide, tmp_path / "out.edge", weights=weights, calib=samples, prune="magnitude", sparsity=0.6)
        graph = read_model(tmp_path / "out.edge").unpacked_graph()
        export_onnx(graph, tmp_path / "pruned.onnx")
        feeds = {"x": np.load(samples)["x"][:1]}
        elsewhere = onnxruntime.InferenceSession(tmp_path / "pruned.onnx", providers=["CPUExecutionProvider"])
        for name, value in run_graph(graph, feeds).items():
            np.testing.assert_allclose(
                elsewhere.run([name], feeds)[0], value, rtol=1e-3, atol=0.05 * np.abs(value).max()
            )
        again = convert(tmp_path / "pruned.onnx", tmp_path / "again.edge")
        assert [tensor.pattern for tensor in again.model.tensors.values() if tensor.sparse] == (
            ["4x1", "4x1"] if weights == "f32" else ["4x4", "4x4"]
        )
        layers = [layer for layer in again.report.stored if layer.pattern]
        assert all(layer.nbytes < 0.6 * layer.dense for layer in layers)
        assert "2 layers without their zeros" in again.report.table()


def test_few_zeros_stay_with_a_reason(wide: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(wide)
    for constant in model.graph.initializer:
        value = onnx.numpy_helper.to_array(constant).copy()
        if value.ndim == 4:
            value.reshape(-1)[::5] = 0
            constant.CopyFrom(onnx.numpy_helper.from_array(value, constant.name))
    onnx.save(model, wide)
    result = convert(wide, tmp_path / "out.edge")
    assert not any(tensor.sparse for tensor in result.model.tensors.values())
    assert "20 % zeros" in result.report.table()


def test_a_dead_filter_goes(wide: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(wide)
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    for constant in model.graph.initializer:
        if constant.name == convs[2].input[1]:
            value = onnx.numpy_helper.to_array(constant).copy()
            value[3:19] = 0
            constant.CopyFrom(onnx.numpy_helper.from_array(value, constant.name))
    norm = next(node for node in model.graph.node if node.input[0] == convs[2].output[0])
    for constant in model.graph.initializer:
        if constant.name in (norm.input[2], norm.input[3]):  # shift less gain * mean: what a dead filter gives
            zeros = np.zeros(48, np.float32)
            constant.CopyFrom(onnx.numpy_helper.from_array(zeros, constant.name))
    onnx.save(model, wide)
    result = convert(wide, tmp_path / "out.edge")
    assert "note: 16 channels that were constant or unread are gone" in result.report.table()
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 8, 12, 12)).astype(np.float32)}
    import onnxruntime

    wanted = onnxruntime.InferenceSession(wide, providers=["CPUExecutionProvider"]).run(None, feeds)[0]
    found = next(iter(run_graph(result.model.unpacked_graph(), feeds).values()))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_large_loss_is_told_and_refused(
    wide: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgert.converters.compress_network.LARGE_LOSS", -101.0)
    options: dict[str, Any] = {"prune": "magnitude", "sparsity": 0.95}
    told = convert(wide, tmp_path / "out.edge", calib=samples, **options).report
    assert len(told.warnings) == 1
    assert "docs/pruning.md" in told.table()
    untold = convert(wide, tmp_path / "out.edge", **options).report
    assert "not measured" in untold.table()
    (tmp_path / "out.edge").unlink()
    with pytest.raises(ConversionError, match="--allocate sensitivity"):
        convert(wide, tmp_path / "out.edge", calib=samples, max_loss=-101, **options)
    assert not (tmp_path / "out.edge").exists()


def test_prune_options_of_networks(wide: Path, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.edge"
    names = list(convert(wide, out, prune="magnitude").report.pruning["sparsities"])
    result = convert(
        wide, out, prune="sparsegpt", allocate="sensitivity", pattern="unstructured", calib=samples,
        overrides=[f"{names[0]}=prune:none"], weights="int8",
    )  # fmt: skip
    assert result.report.pruning["left_dense"][names[0]] == "left dense as asked"
    for options in ({"prune": "wanda"}, {"sparsity": 0.5}, {"overrides": ["x=prune:0.3"]}, {"max_loss": 1.0}):
        with pytest.raises(ConversionError):
            convert(wide, out, **options)
    convert(wide, tmp_path / "int8.edge", weights="int8", calib=samples)
    from edgert.converters.onnx.exporter import export_onnx

    export_onnx(read_model(tmp_path / "int8.edge").unpacked_graph(), tmp_path / "int8.onnx")
    with pytest.raises(ConversionError, match="float weights to prune"):
        convert(tmp_path / "int8.onnx", out, prune="magnitude")


def test_pruning_on_the_command_line(wide: Path, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.edge"
    words = ["convert", wide, "-o", out, "--prune", "magnitude", "--pattern", "2x4", "--sparsity", "0.7"]
    assert main([str(word) for word in [*words, "--weights", "int8", "--calib", samples, "--json"]]) == 0
    assert {tensor.pattern for tensor in read_model(out).tensors.values() if tensor.sparse} == {"2x4"}
