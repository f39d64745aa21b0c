"""`edgert inspect` of sparse weights: the table with bars, the same facts as JSON, the page with masks."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from edgert.cli import sparsity, sparsity_page
from edgert.cli.main import main
from edgert.format import Model, ModelInfo, StoredTensor, write_model
from edgert.graph.ir import Graph, Node, TensorType

EVIL = '</td><script src="http://x">&'
VOID = {"meta", "img", "br"}
MAX_PAGE_BYTES = 5_000_000


def filters(rng: np.random.Generator, n: int, c: int, keep: float) -> np.ndarray:
    """int8 [n, c, 1, 1], the share `keep` of its blocks of 4x4 not zero."""
    blocks = (rng.random((n // 4, c // 4)) < keep).repeat(4, 0).repeat(4, 1)
    return (rng.integers(1, 127, (n, c)) * blocks).astype(np.int8)[:, :, None, None]


def model(rng: np.random.Generator) -> Model:
    """A convolution with 4x4 blocks and a name from a stranger, then a dense one."""
    weights = filters(rng, 16, 32, 0.25)
    stored = [
        StoredTensor.pack_block("w1", weights, np.ones(16, np.float32), "b4x4"),
        StoredTensor.pack_dense("w2", rng.standard_normal((4, 16, 1, 1)).astype(np.float32)),
        StoredTensor.pack_dense("bias", np.ones(4, np.float32)),
    ]
    graph = Graph(
        inputs=["x"],
        outputs=["y"],
        nodes=[
            Node("Conv", ("x", "w1"), ("h",), {}, name=EVIL),
            Node("Conv", ("h", "w2", "bias"), ("y",), {}, name="last"),
        ],
        types={
            "x": TensorType("float32", ("N", 32, 7, 7)),
            "h": TensorType("float32", ("N", 16, 7, 7)),
            "y": TensorType("float32", ("N", 4, 7, 7)),
        },
    )
    return Model(graph, {tensor.name: tensor for tensor in stored}, ModelInfo("tiny & sparse"))


@pytest.fixture
def file(rng: np.random.Generator, tmp_path: Path) -> Path:
    write_model(model(rng), path := tmp_path / "tiny.edge")
    return path


class Page(HTMLParser):
    """Fails where a tag is closed that is not open; collects attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def pixels(data: bytes) -> np.ndarray:
    """Levels 0..15 [height, width] of a PNG that the page shows; its check sums are checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size)[0] == zlib.crc32(body)
        chunks[body[:4]] = body[4:]
        at += 12 + size
    width, height, depth, kind = struct.unpack_from(">2I2B", chunks[b"IHDR"])
    assert (depth, kind, len(chunks[b"PLTE"])) == (4, 3, 48)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)[:, 1:]
    return np.stack([rows >> 4, rows & 15], -1).reshape(height, -1)[:, :width]


def test_table(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    stored = next(line for line in lines if line.startswith(EVIL))
    assert "4x4" in stored and "16x32x1x1" in stored and "#" in stored and "." in stored
    assert next(line for line in lines if line.startswith("last")).split()[2:5] == ["dense", "100", "%"]
    assert lines[-1].startswith("all ")


def test_no_table_where_nothing_is_sparse() -> None:
    dense = sparsity.Layer("l", "Gemm", "w", (4, 4), "dense", "dense", 1.0, 32.0, 64)
    assert sparsity.table([dense]) == [] and sparsity.table([]) == []


def test_json(file: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["sparsity"]
    first, last = found["layers"]
    kept = np.count_nonzero(filters(np.random.default_rng(20240229), 16, 32, 0.25)) / (16 * 32)
    assert first["layer"] == EVIL and first["pattern"] == "4x4" and first["density"] == pytest.approx(kept)
    assert first["bits"] == pytest.approx(8 * first["nbytes"] / 512)
    assert last["pattern"] == "dense" and last["bits"] == 32
    assert found["sparse_layers"] == 1 and found["weights"] == 512 + 64
    assert found["bytes"] == first["nbytes"] + last["nbytes"]
    assert found["density"] == pytest.approx((kept * 512 + 64) / 576)


def test_page(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Well formed, nothing from elsewhere, names are text, and the picture is the mask."""
    target = tmp_path / "page.html"
    target.write_text("an older page")
    assert main(["inspect", str(file), "--html", str(target)]) == 0
    assert "page.html" in capsys.readouterr().err
    text = target.read_text("utf-8")
    page = Page(text)
    assert EVIL in page.text and EVIL not in text and "tiny & sparse" in page.text
    assert not any(tag in ("script", "link", "iframe") for tag, _ in page.tags)
    links = [value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href")]
    assert len(links) == 1 and links[0] is not None and links[0].startswith("data:image/png;base64,")
    shown = pixels(base64.b64decode(links[0].partition(",")[2]))
    mask = filters(np.random.default_rng(20240229), 16, 32, 0.25)[:, :, 0, 0] != 0
    np.testing.assert_array_equal(shown, 15 * mask)
    assert len(list(tmp_path.iterdir())) == 2


def test_page_that_cannot_be_written(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(file), "--html", str(tmp_path / "none" / "page.html")]) == 1
    assert "the page was not written" in capsys.readouterr().err


def test_filters_have_their_taps_outside() -> None:
    weights = np.zeros((2, 3, 2, 2), np.float32)
    weights[1, 2, 0, 1] = 1  # tap 1, channel 2
    mask = sparsity_page.kept(StoredTensor.pack_dense("w", weights))
    assert mask.shape == (2, 12) and np.argwhere(mask).tolist() == [[1, 1 * 3 + 2]]


@pytest.mark.parametrize(
    ("shape", "small"),
    [
        ((1, 1), (1, 1)),
        ((5, 7), (5, 7)),
        ((128, 96), (64, 48)),
        ((3, 2000), (3, 63)),
        ((1000, 3), (63, 3)),
        ((66, 65), (33, 33)),
    ],
)
def test_downsampled_masks_are_shares_of_tiles(
    shape: tuple[int, int], small: tuple[int, int], rng: np.random.Generator
) -> None:
    mask = rng.random(shape) < 0.3
    share = sparsity_page.downsample(mask, 64)
    assert share.shape == small
    rows, columns = (-(-size // count) for size, count in zip(shape, small, strict=True))
    assert share[0, 0] == pytest.approx(mask[:rows, :columns].mean())
    assert share[-1, -1] == pytest.approx(mask[rows * (small[0] - 1) :, columns * (small[1] - 1) :].mean())
    np.testing.assert_array_equal(sparsity_page.downsample(mask, max(shape)), mask)


def test_pictures_keep_to_their_budget(rng: np.random.Generator) -> None:
    """Random masks, the hardest to pack: 210 matrices of a language model make a page of less than 5 MB."""
    mask = rng.random((576, 1536)) < 0.5
    data, (height, width) = sparsity_page.picture(mask, sparsity_page.PICTURES // 210)
    assert 210 * (len(data) * 4 / 3 + 2000) < MAX_PAGE_BYTES
    assert pixels(data).shape == (height, width) and width >= 192
    assert pixels(data).mean() == pytest.approx(7.5, abs=0.2)


def test_many_layers_share_lines() -> None:
    layers = [
        sparsity.Layer(
            f"layers.{i}.{part}", "Gemm", f"w{i}{part}", (64, 64), "bitmap8", "bitmap8", (i + 1) / 60, 5.0, 2560
        )
        for i in range(30)
        for part in ("up", "down")
    ]
    lines = sparsity.table(layers)
    assert len(lines) == 1 + 2 + 1
    assert re.search(r"layers\.\*\.up \(30\) +64x64 +bitmap8 +26 %", lines[1])
    assert sparsity.together(layers).density == pytest.approx(31 / 120)


@pytest.mark.parametrize(("density", "full"), [(0, 0), (0.001, 1), (0.5, 10), (1, 20)])
def test_bar(density: float, full: int) -> None:
    assert sparsity.bar(density) == "#" * full + "." * (20 - full)
