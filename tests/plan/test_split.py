"""Products cut along their rows: the same bits, pieces within the limit, and a reason where none are made."""

from __future__ import annotations

import numpy as np
import pytest
from networks import Network

from edgert.format import Model, StoredTensor
from edgert.graph.ir import Graph, Node, Quantization
from edgert.plan.split import Split, split_products
from edgert.runtime.session import Session

COLUMNS, DEPTH = 360, 96
KINDS = (
    "q4",
    "q4m",
    "q8g",
    "f16",
    "f32",
    "bitmap8",
    "bitmap4",
    "bitmap16",
    "nm8",
    "nm4",
    "group4",
    "rowgroup4",
    "fanin",
)


def weights(kind: str, rng: np.random.Generator) -> StoredTensor:
    """[COLUMNS, DEPTH], of which the sparse encodings keep a part of 32 inputs in 64, or 16 rows in 32."""
    scale = rng.uniform(-0.02, 0.02, (COLUMNS, DEPTH // 32)).astype(np.float16)
    numbers = rng.integers(-127, 128, (COLUMNS, DEPTH)).astype(np.int8)
    nibbles = rng.integers(0, 16, (COLUMNS, DEPTH)).astype(np.uint8)
    real = rng.standard_normal((COLUMNS, DEPTH)).astype(np.float32)
    kept = rng.random((COLUMNS, DEPTH)) < 0.3
    pairs = np.arange(DEPTH) % 4 < 2
    rows = (np.arange(COLUMNS) % 2 == 0)[:, None]
    match kind:
        case "q4":
            return StoredTensor.pack_q4("w", nibbles, scale)
        case "q4m":
            return StoredTensor.pack_q4m("w", nibbles, scale, -scale)
        case "q8g":
            return StoredTensor.pack_q8g("w", numbers, scale)
        case "f16":
            return StoredTensor.pack_f16("w", real, "n16k1")
        case "f32":
            return StoredTensor.pack_dense("w", real, "n16k1")
        case "bitmap8":
            return StoredTensor.pack_bitmap8("w", numbers * kept, scale)
        case "bitmap4":
            return StoredTensor.pack_bitmap4("w", np.where(kept, nibbles, 8).astype(np.uint8), scale)
        case "bitmap16":
            return StoredTensor.pack_bitmap16("w", real * kept)
        case "nm8":
            return StoredTensor.pack_nm("w", numbers * pairs, scale, 2, 4)
        case "nm4":
            return StoredTensor.pack_nm("w", np.where(pairs, nibbles, 8).astype(np.uint8), scale, 2, 4)
        case "group4":
            return StoredTensor.pack_group4("w", np.where(rows, nibbles, 8).astype(np.uint8), scale)
        case "rowgroup4":
            return StoredTensor.pack_rowgroup4("w", np.where(rows, nibbles, 8).astype(np.uint8), scale)
    return StoredTensor.pack_fanin("w", numbers * kept, np.abs(scale[:, 0]).astype(np.float32))


def product(kind: str) -> Model:
    """x [T, DEPTH], r [T, COLUMNS] -> y = relu(x w^T + b + r), with a bias of one row."""
    net = Network(7)
    x, residual = net.input("x", ("T", DEPTH)), net.input("r", ("T", COLUMNS))
    w = net.store(weights(kind, net.rng))
    b = net.constant("b", net.rng.standard_normal((1, COLUMNS)).astype(np.float32))
    return net.model(net.node("Gemm", x, w, b, residual, out="y", transB=1, residual=1, activation="Relu"))


def classifier() -> Model:
    """x [1, DEPTH] -> QLinearGemm -> y [1, COLUMNS]."""
    net = Network(8)
    q = net.node("QuantizeLinear", net.input("x", (1, DEPTH)), quant=(0.02, 128))
    scale = net.rng.uniform(0.002, 0.004, COLUMNS).astype(np.float32)
    numbers = net.rng.integers(-127, 128, (COLUMNS, DEPTH)).astype(np.int8)
    w = net.store(StoredTensor.pack_q8("w", numbers, scale, "n16k4"))
    quant = Quantization(np.float32(0.02) * scale, np.zeros(COLUMNS, np.int32), 0)
    b = net.constant("b", net.rng.integers(-2000, 2000, COLUMNS).astype(np.int32), quant=quant)
    y = net.node("QLinearGemm", q, w, b, quant=(0.02, 128))
    return net.model(net.node("DequantizeLinear", y, out="y"))


def cut(model: Model, share: float) -> tuple[Split, Model]:
    """`model` with its weights in pieces of at most that share of them."""
    split = split_products(model.graph, model.tensors, int(share * model.tensors["w"].nbytes))
    return split, Model(split.graph, dict(split.tensors), model.info)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sparse", ["always", "never"])
def test_the_same_bits(kind: str, sparse: str) -> None:
    model = product(kind)
    split, pieces = cut(model, 0.4)
    assert not split.refused and [n.op for n in split.graph.nodes] == ["Slice", "Gemm"] * 3 + ["Concat"]
    rng = np.random.default_rng(2)
    if sparse == "never" and not model.tensors["w"].sparse:
        return
    with Session(model, sparse=sparse) as whole, Session(pieces, sparse=sparse) as parted:
        for rows in (1, 5, 40):
            feeds = {name: rng.standard_normal((rows, size)).astype(np.float32) for name, size in
                     (("x", DEPTH), ("r", COLUMNS))}  # fmt: skip
            assert np.array_equal(parted.run(feeds)["y"], whole.run(feeds)["y"])


def test_the_same_bytes_of_a_quantized_product() -> None:
    model = classifier()
    split, pieces = cut(model, 0.4)
    assert [n.op for n in split.graph.nodes].count("QLinearGemm") == 3
    x = np.random.default_rng(2).standard_normal((1, DEPTH)).astype(np.float32)
    with Session(model) as whole, Session(pieces) as parted:
        assert np.array_equal(parted.run({"x": x})["y"], whole.run({"x": x})["y"])
        assert all(step.kind != "host" for step in parted.plan().steps)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.34, 0.6, 0.99])
def test_pieces_are_within_the_limit_and_even(share: float) -> None:
    """A piece is at least 64 rows."""
    model = product("q4")
    split, _ = cut(model, share)
    whole = model.tensors["w"]
    sizes = [split.tensors[n.inputs[1]].shape[0] for n in split.graph.nodes if n.op == "Gemm"]
    assert sum(sizes) == COLUMNS and all(size % 64 == 0 for size in sizes[:-1])
    assert all(size == sizes[0] for size in sizes[:-1]) and sizes[-1] <= sizes[0]
    block = whole.nbytes / -(-COLUMNS // 16) / 16
    assert max(sizes) == 64 or max(sizes) * block <= share * whole.nbytes


def test_what_is_small_stays_and_shares() -> None:
    model = product("q4")
    same = split_products(model.graph, model.tensors, model.tensors["w"].nbytes)
    assert same.graph is model.graph and same.tensors is model.tensors and not same.refused


def test_a_table_that_is_looked_up_too_is_cut_for_its_product_alone() -> None:
    net = Network(9)
    w = net.store(weights("q8g", net.rng))
    x = net.node("Gather", w, net.input("tokens", ("T",), "int64"))
    model = net.model(net.node("Gemm", x, w, out="y", transB=1))
    split, pieces = cut(model, 0.5)
    assert not split.refused and split.graph.nodes[0].inputs[0] == "w"
    tokens = {"tokens": np.array([3, COLUMNS - 1, 64])}
    with Session(model) as whole, Session(pieces) as parted:
        assert np.array_equal(parted.run(tokens)["y"], whole.run(tokens)["y"])


def test_refusals_say_why() -> None:
    def refused(tensor: StoredTensor, *nodes: Node) -> str:
        graph = Graph("g", ["x", "b"], ["y"], list(nodes), {"w": tensor.type})
        split = split_products(graph, {"w": tensor}, 100)
        assert split.graph.nodes == graph.nodes
        return split.refused["w"]

    q4 = weights("q4", np.random.default_rng(1))
    assert "not rows of outputs" in refused(q4, Node("Gemm", ("x", "w"), ("y",), {}, "n"))
    assert "bias that is computed" in refused(q4, Node("Gemm", ("x", "w", "b"), ("y",), {"transB": 1}, "n"))
    assert "MatMul" in refused(q4, Node("MatMul", ("x", "w"), ("y",), {}, "n"))
    rows = StoredTensor.pack_f16("w", np.zeros((64, 64), np.float32), "row")
    assert "layout row" in refused(rows, Node("Gemm", ("x", "w"), ("y",), {"transB": 1}, "n"))
