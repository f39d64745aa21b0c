"""How sparse each layer of a model is: facts for JSON, and a table with bars for the terminal.

The page with pictures is sparsity_page.py. Nothing of the weights is read here: the sizes in the header say it all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

from edgert.format import Model, StoredTensor
from edgert.plan.budget import show_bytes

BAR = 20
NAME = 60
"""Characters of a layer's name in the table: exporters that fuse layers join their names to hundreds."""

LONG = 40
"""Lines of a table; where there are more, layers that differ by their number alone share a line."""


@dataclass(frozen=True)
class Layer:
    """The weights of one node. pattern: 'dense', or as StoredTensor.pattern. density: share of the weights that is
    stored, 0 to 1. bits: stored bits per weight, scales and indices counted. nbytes: all its parts. count: how
    many such layers a line stands for; density, bits and nbytes are then of all together."""

    layer: str
    operator: str
    tensor: str
    shape: tuple[int, ...]
    encoding: str
    pattern: str
    density: float
    bits: float
    nbytes: int
    count: int = 1

    @property
    def sparse(self) -> bool:
        return self.pattern != "dense"

    @property
    def weights(self) -> int:
        return prod(self.shape) * self.count


def layers_of(model: Model) -> list[Layer]:
    """Every stored matrix and filter that a node reads, in the order of computation; each tensor once."""
    layers, seen = [], set()
    for node in model.graph.nodes:
        for name in node.inputs:
            stored = model.tensors.get(name)
            if stored is not None and len(stored.shape) >= 2 and 0 not in stored.shape and name not in seen:
                seen.add(name)
                layers.append(_layer(node.name or node.outputs[0], node.op, stored))
    return layers


def _layer(name: str, operator: str, stored: StoredTensor) -> Layer:
    pattern, density = (stored.pattern, stored.density) if stored.sparse else ("dense", 1.0)
    bits = 8 * stored.nbytes / prod(stored.shape)
    return Layer(name, operator, stored.name, stored.shape, stored.encoding, pattern, density, bits, stored.nbytes)


def facts(layers: list[Layer]) -> dict[str, Any]:
    """`layers` and their sums as plain data."""
    total = together(layers)
    return {
        "sparse_layers": sum(layer.sparse for layer in layers),
        "weights": total.weights,
        "density": total.density,
        "bits_per_weight": total.bits,
        "bytes": total.nbytes,
        "layers": [{key: value for key, value in asdict(layer).items() if key != "count"} for layer in layers],
    }


def together(layers: list[Layer]) -> Layer:
    """One line for `layers`: their sums and means. The shape of several kinds is all their weights in a row."""
    if not layers:
        return Layer("all", "", "", (0,), "", "dense", 1.0, 0.0, 0)
    weights = sum(layer.weights for layer in layers)
    nbytes = sum(layer.nbytes for layer in layers)
    density = sum(layer.density * layer.weights for layer in layers) / weights
    alike = len({layer.shape for layer in layers}) == 1
    shape, count = (layers[0].shape, len(layers)) if alike else ((weights,), 1)
    return replace(
        layers[0], layer="all", shape=shape, density=density, bits=8 * nbytes / weights, nbytes=nbytes, count=count
    )


def table(layers: list[Layer]) -> list[str]:
    """A line per layer with a bar as long as its density, and one for all; [] where nothing is sparse."""
    if not any(layer.sparse for layer in layers):
        return []
    shown = list(_merged(layers)) if len(layers) > LONG else layers
    rows = [
        (
            shortened(layer.layer) + (f" ({layer.count})" if layer.count > 1 else ""),
            "x".join(map(str, layer.shape)),
            layer.pattern if layer.sparse else layer.encoding,
            f"{100 * layer.density:.0f} %",
            bar(layer.density),
            f"{layer.bits:.2f}",
            show_bytes(layer.nbytes),
        )
        for layer in shown
    ]
    total = together(layers)
    rows.append(
        (
            "all",
            "",
            "",
            f"{100 * total.density:.0f} %",
            bar(total.density),
            f"{total.bits:.2f}",
            show_bytes(total.nbytes),
        )
    )
    rows.insert(0, ("layer", "shape", "pattern", "kept", "", "bits", "stored"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    right = {3, 5, 6}
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def shortened(name: str) -> str:
    """`name` in at most NAME characters."""
    return name if len(name) <= NAME else name[: NAME - 1] + "…"


def bar(density: float) -> str:
    """20 characters, as many of them full as the density says; at least one if anything is kept."""
    full = max(round(BAR * density), int(density > 0))
    return "#" * full + "." * (BAR - full)


def _merged(layers: list[Layer]) -> Iterator[Layer]:
    """Layers that differ by a number in their names alone, each kind as one."""
    kinds: dict[tuple[str, tuple[int, ...], str, str], list[Layer]] = {}
    for layer in layers:
        name = re.sub(r"\d+", "*", layer.layer)
        kinds.setdefault((name, layer.shape, layer.encoding, layer.pattern), []).append(layer)
    for (name, *_), alike in kinds.items():
        yield alike[0] if len(alike) == 1 else replace(together(alike), layer=name)
