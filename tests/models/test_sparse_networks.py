"""Real networks pruned in one shot: the classifier that ships on its test images, EfficientNet-Lite0 on photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgert
from edgert.converters.calibrate.session import SessionExecutor
from edgert.converters.convert import convert
from edgert.converters.passes.permute_channels import kept_share, permute_channels
from edgert.converters.prune.patterns import BLOCK_4X4
from edgert.datasets import read_idx
from edgert.graph.execute import run_graph
from edgert.graph.ir import Graph
from edgert.models import FASHION_MNIST

pytestmark = [pytest.mark.model, pytest.mark.slow]

TEST_IMAGES = 2000
TRAINING_IMAGES = 128
MAX_LOSS = 4.0
"""Points of top-1 that half of all weights in 4x4 blocks may cost without training."""


@pytest.fixture(scope="module")
def images(asset: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """'train' to calibrate with and 'test', labelled."""
    folder, out = asset("fashion-mnist"), tmp_path_factory.mktemp("images")
    found = {}
    for name, prefix, count in (("train", "train", TRAINING_IMAGES), ("test", "t10k", TEST_IMAGES)):
        x = read_idx(folder / f"{prefix}-images-idx3-ubyte")[:count, None].astype(np.float32) / 255
        y = read_idx(folder / f"{prefix}-labels-idx1-ubyte")[:count]
        found[name] = out / f"{name}.npz"
        np.savez(found[name], x=x, y=y.astype(np.int64))
    return found


@pytest.mark.parametrize("weights", ["f32", "int8"])
def test_half_of_the_classifier(images: dict[str, Path], tmp_path: Path, weights: str) -> None:
    """SparseGPT loses little, magnitude more; both run on the runtime, from a smaller file."""
    loss, options = {}, {"weights": weights, "calib": images["train"], "eval_data": images["test"]}
    dense = convert(FASHION_MNIST, tmp_path / "dense.edge", execute=SessionExecutor(), **options)
    for criterion in ("magnitude", "sparsegpt"):
        out = tmp_path / f"{criterion}.edge"
        result = convert(
            FASHION_MNIST, out, prune=criterion, sparsity=0.5, allocate="sensitivity", execute=SessionExecutor(),
            **options,
        )  # fmt: skip
        assert result.report.accuracy is not None
        loss[criterion] = result.report.accuracy.before - result.report.accuracy.after
        print(f"{weights} {criterion}: {result.report.accuracy.after:.2f} %, {out.stat().st_size} bytes")
        assert result.report.bytes_after < 0.8 * dense.report.bytes_after
    assert loss["sparsegpt"] <= MAX_LOSS
    assert loss["sparsegpt"] <= loss["magnitude"]
    with np.load(images["test"]) as test, edgert.load(tmp_path / "sparsegpt.edge") as session:
        right = session.run({"image": test["x"]})["logits"].argmax(1) == test["y"]
    assert 100 * right.mean() == pytest.approx(result.report.accuracy.after, abs=0.3)


@pytest.fixture(scope="module")
def lite0(asset: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Graph:
    out = tmp_path_factory.mktemp("lite0") / "f32.edge"
    return convert(asset("efficientnet-lite0"), out).model.unpacked_graph()


@pytest.mark.parametrize("sparsity, before, after", [(0.5, 0.73, 0.80), (0.7, 0.54, 0.63)])
def test_order_of_channels_keeps_more(lite0: Graph, sparsity: float, before: float, after: float) -> None:
    """Of the squares of all weights of a layer, on average, in blocks of 4x4; and the answers stay."""

    def kept(graph: Graph) -> float:
        weights = [graph.constants[node.inputs[1]] for node in graph.nodes if node.outputs[0] in layers]
        return float(
            np.mean([kept_share(np.square(w).reshape(*w.shape[:2], -1), BLOCK_4X4, sparsity) for w in weights])
        )

    layers = {
        node.outputs[0]: sparsity
        for node in lite0.nodes
        if node.op == "Conv" and node.attr_int("group", 1) == 1 and lite0.constants[node.inputs[1]].shape[1] >= 16
    }
    ordered = permute_channels(lite0, BLOCK_4X4, layers)
    print(f"{sparsity:.0%}: {kept(lite0):.3f} -> {kept(ordered):.3f}")
    assert kept(lite0) < before
    assert kept(ordered) > after
    feeds = {"input": np.random.default_rng(0).uniform(-1, 1, (1, 3, 224, 224)).astype(np.float32)}
    wanted, found = (run_graph(graph, feeds)[graph.outputs[0]] for graph in (lite0, ordered))
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_lite0_at_half(asset: Callable[[str], Path], tmp_path: Path) -> None:
    """Half of the blocks of all pointwise layers gone in one shot, on the photos themselves: the report says what it
    costs, and the file is smaller."""
    options: dict[str, Any] = {"weights": "int8", "calib": asset("photos"), "execute": SessionExecutor()}
    dense = convert(asset("efficientnet-lite0"), tmp_path / "dense.edge", **options)
    pruned = convert(
        asset("efficientnet-lite0"), tmp_path / "sparse.edge", prune="sparsegpt", sparsity=0.5,
        allocate="sensitivity", **options,
    )  # fmt: skip
    report = pruned.report
    print(report.table())
    assert report.bytes_after < 0.78 * dense.report.bytes_after
    assert sum(bool(layer.pattern) for layer in report.stored) >= 30
    assert report.agreement is not None
    assert report.agreement >= 50
    assert bool(report.warnings) == (report.loss()[0] > 2)
