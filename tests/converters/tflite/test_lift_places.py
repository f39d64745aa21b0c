"""Operators that move, choose, join and make values from TFLite do what LiteRT does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compare import Case, Const, check
from flat_model import FlatModel

from edgert.converters.tflite.importer import check_tflite, import_tflite
from edgert.graph.execute import run_graph

RNG = np.random.default_rng(11)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*shape: int, high: int = 9, low: int = 0) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(np.int32)


SHAPES = [
    Case("RESHAPE", floats(2, 6), Const([3, -1])),
    Case("RESHAPE", floats(2, 6), new_shape=[4, 3]),
    Case("RESHAPE", floats(2, 6), np.array([4, 3], np.int32)),
    Case("SQUEEZE", floats(1, 3, 1, 2)),
    Case("SQUEEZE", floats(1, 3, 1, 2), squeeze_dims=[2]),
    Case("EXPAND_DIMS", floats(3, 2), Const(-1)),
    Case("TRANSPOSE", floats(2, 3, 4), Const([2, 0, 1])),
    Case("CONCATENATION", floats(2, 3), floats(2, 1), axis=1),
    Case("CONCATENATION", floats(2, 3), Const(floats(4, 3)), axis=0),
    Case("CONCATENATION", floats(2, 3), floats(2, 3), axis=-1),
    Case("PACK", floats(2, 3), floats(2, 3), axis=1, values_count=2),
    Case("PACK", floats(2, 3), Const(floats(2, 3)), axis=-1, values_count=2),
    Case("UNPACK", floats(3, 2), outputs=("float32",) * 3, axis=0, num=3),
    Case("UNPACK", floats(3, 2), outputs=("float32",) * 2, axis=-1, num=2),
    Case("SPLIT", Const(1), floats(2, 6), outputs=("float32",) * 3, num_splits=3),
    Case("SPLIT_V", floats(2, 6), Const([1, -1, 2]), Const(1), outputs=("float32",) * 3, num_splits=3),
    Case("TILE", floats(2, 3), Const([2, 1])),
    Case("BROADCAST_TO", floats(3, 1), Const([2, 3, 4]), version=2),
    Case("BROADCAST_ARGS", Const([3, 1]), np.array([2, 1, 4], np.int32), outputs=("int32",)),
    Case("FILL", Const([2, 3]), floats()),
    Case("ZEROS_LIKE", floats(2, 3)),
    Case("SHAPE", floats(2, 3), outputs=("int32",), out_type="INT32"),
    Case("RANK", floats(2, 3), outputs=("int32",)),
    Case("RANGE", Const(2), Const(9), np.array(3, np.int32), outputs=("int32",)),
    Case("RANGE", Const(2.0, "float32"), Const(0.5, "float32"), Const(-0.5, "float32")),
    Case("DEPTH_TO_SPACE", floats(1, 2, 3, 8), block_size=2),
    Case("SPACE_TO_DEPTH", floats(1, 4, 6, 2), block_size=2),
    Case("SPACE_TO_BATCH_ND", floats(2, 4, 6, 3), Const([2, 3]), Const([[0, 0], [0, 0]])),
    Case("SPACE_TO_BATCH_ND", floats(1, 5, 4, 3), Const([2, 2]), Const([[1, 2], [0, 2]])),
    Case("BATCH_TO_SPACE_ND", floats(6, 2, 3, 2), Const([2, 3]), Const([[0, 1], [2, 0]])),
]

SLICES = [
    Case("SLICE", floats(4, 5), Const([1, 2]), Const([2, -1])),
    Case("SLICE", floats(4, 5), np.array([1, 2], np.int32), np.array([2, -1], np.int32)),
    Case("STRIDED_SLICE", floats(4, 6), Const([1, 5]), Const([4, 0]), Const([1, -2])),
    Case("STRIDED_SLICE", floats(4, 6), Const([1, 2]), Const([0, 0]), Const([1, 1]), begin_mask=1, end_mask=3),
    Case("STRIDED_SLICE", floats(4, 6), Const([-1, 1]), Const([0, 4]), Const([1, 1]), shrink_axis_mask=1),
    Case("STRIDED_SLICE", floats(4, 6), Const([2, 1]), Const([3, 2]), Const([1, 1]), shrink_axis_mask=3),
    Case("STRIDED_SLICE", floats(2, 3, 4), Const([0, 1]), Const([0, 3]), Const([1, 1]), ellipsis_mask=1),
    Case("STRIDED_SLICE", floats(2, 3, 4), Const([0, 0, 1]), Const([0, 0, 3]), Const([1, 1, 1]), ellipsis_mask=1,
         new_axis_mask=2),
    Case("STRIDED_SLICE", floats(2, 3), Const([0, 1, 0]), Const([1, 2, 2]), Const([1, 1, 1]), new_axis_mask=2),
    Case("STRIDED_SLICE", floats(4, 6), Const([5, 6]), Const([0, 0]), Const([-1, -1]), begin_mask=3, end_mask=3),
    Case("STRIDED_SLICE", floats(4, 6), np.array([-1, 2], np.int32), np.array([9, 9], np.int32), Const([1, 2]),
         shrink_axis_mask=1, end_mask=2),
    Case("STRIDED_SLICE", floats(4, 6), np.array([1, 2], np.int32), np.array([2, 3], np.int32), Const([1, 1])),
    Case("STRIDED_SLICE", floats(4, 6), Const([1, 2]), Const([2, 3]), Const([1, 1]), offset=True),
    Case("REVERSE_V2", floats(3, 4), Const([1])),
    Case("REVERSE_V2", ints(3, 4, 2), Const([1, 2]), outputs=("int32",)),
    Case("REVERSE_SEQUENCE", floats(3, 4, 2), Const([1, 4, 2]), seq_dim=1, batch_dim=0),
    Case("REVERSE_SEQUENCE", floats(3, 4, 2), Const([1, 2], "int64"), seq_dim=0, batch_dim=2),
    Case("PAD", floats(2, 3, 4), Const([[0, 1], [2, 0], [1, 1]])),
    Case("PADV2", floats(2, 3), Const([[0, 1], [2, 0]]), Const(1.5, "float32")),
    Case("PAD", floats(2, 3), np.array([[0, 1], [2, 0]], np.int32)),
    Case("MIRROR_PAD", floats(3, 4), Const([[1, 2], [2, 3]]), mode="REFLECT"),
    Case("MIRROR_PAD", floats(3, 4), Const([[3, 2], [0, 3]]), mode="SYMMETRIC"),
    Case("MIRROR_PAD", floats(3, 4), Const([[0, 0], [0, 0]]), mode="SYMMETRIC"),
]  # fmt: skip

INDICES = [
    Case("GATHER", floats(4, 5), ints(2, 3, high=4), axis=0),
    Case("GATHER", floats(4, 5, 2), Const(ints(3, high=5)), axis=-2),
    Case("GATHER", floats(2, 4, 5), ints(2, 3, high=4), axis=1, batch_dims=1),
    Case("GATHER", floats(2, 4, 5, 3), ints(2, 3, high=5), axis=2, batch_dims=1),
    Case("GATHER_ND", floats(3, 4, 5), ints(2, 2, high=3)),
    Case("SCATTER_ND", ints(5, 1, high=4), floats(5, 3), Const([4, 3])),
    Case("SCATTER_ND", Const([[0, 1], [2, 2]]), np.array([4, 5], np.int32), Const([3, 3]), outputs=("int32",)),
    Case("SPARSE_TO_DENSE", Const([[0, 1], [2, 2]]), Const([3, 3]), floats(2), Const(-1.0, "float32")),
    Case("SPARSE_TO_DENSE", Const([0, 3]), Const([5]), floats(), Const(0.5, "float32")),
    Case("EMBEDDING_LOOKUP", ints(5, high=4), Const(floats(4, 3))),
    Case("ONE_HOT", np.array([0, -1, 5], np.int32), Const(4), Const(2.0, "float32"), Const(-1.0, "float32"), axis=-1),
    Case("ONE_HOT", ints(2, 3), Const(4), Const(1), Const(0), outputs=("int32",), axis=1),
    Case("TOPK_V2", floats(3, 6), Const(2), outputs=("float32", "int32")),
    Case("TOPK_V2", ints(3, 6, high=3), Const(4), outputs=("int32", "int32")),
    Case("WHERE", RNG.random((3, 4)) < 0.5, outputs=("int64",)),
    Case("UNIQUE", ints(9, high=4), outputs=("int32", "int32"), idx_out_type="INT32"),
    Case("MATRIX_DIAG", floats(2, 3)),
    Case("MATRIX_SET_DIAG", floats(2, 3, 4), floats(2, 3)),
    Case("MATRIX_SET_DIAG", floats(4, 3), floats(3)),
    Case("SEGMENT_SUM", floats(5, 2), Const([0, 0, 1, 2, 2])),
    *(Case(f"UNSORTED_SEGMENT_{kind}", floats(5, 2), Const([0, 2, 0, 1, 2]), Const(4))
      for kind in ("SUM", "PROD", "MAX", "MIN")),
    Case("DYNAMIC_UPDATE_SLICE", floats(4, 5), floats(2, 3), np.array([1, 4], np.int32)),
]  # fmt: skip


@pytest.mark.parametrize("case", [*SHAPES, *SLICES, *INDICES], ids=str)
def test_places(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path)


@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@pytest.mark.parametrize("size", [(4, 5), (8, 10), (7, 3), (1, 1), (13, 11)])
@pytest.mark.parametrize("place", ["", "align_corners", "half_pixel_centers"])
def test_resize(op: str, size: tuple[int, int], place: str, tmp_path: Path) -> None:
    options = {place: True} if place else {}
    check(Case(op, floats(1, 4, 5, 3), Const(list(size)), **options), tmp_path, rtol=1e-5, atol=1e-5)


def test_free_batch_flows_through_shape_arithmetic(tmp_path: Path) -> None:
    """SHAPE -> STRIDED_SLICE -> PACK -> RESHAPE, as Keras writes Flatten for any batch."""
    m = FlatModel()
    x = m.input("x", (1, 2, 3), signature=(-1, 2, 3))
    shape = m.op("SHAPE", [x], ("s", (3,), "int32"), out_type="INT32")
    bounds = [m.constant(f"b{v}", np.array([v], np.int32)) for v in (0, 1, 1)]
    batch = m.op("STRIDED_SLICE", [shape, *bounds], ("n", (), "int32"), shrink_axis_mask=1)
    six = m.constant("six", np.array(6, np.int32))
    target = m.op("PACK", [batch, six], ("t", (2,), "int32"), axis=0, values_count=2)
    m.output(m.op("RESHAPE", [x, target], ("y", (1, 6), "float32")))
    graph = import_tflite(m.save(tmp_path / "m.tflite"))
    assert graph.types["x"].shape == ("N", 2, 3)
    x4 = floats(4, 2, 3)
    np.testing.assert_array_equal(run_graph(graph, {"x": x4})["y"], x4.reshape(4, 6))


def test_int8_values_move_beside_constants(tmp_path: Path) -> None:
    m, quant = FlatModel(), {"scale": 0.5, "zero_point": 3}
    x = m.input("x", (1, 2), "int8", **quant)
    c = m.constant("c", np.array([[-7, 8]], np.int8), **quant)
    packed = m.op("PACK", [x, c], ("y", (2, 1, 2), "int8", quant), axis=0, values_count=2)
    m.output(packed)
    graph = import_tflite(m.save(tmp_path / "m.tflite"))
    assert graph.types["x"].dtype == graph.types["y"].dtype == "int8"
    got = run_graph(graph, {"x": np.array([[-128, 127]], np.int8)})["y"]
    np.testing.assert_array_equal(got, np.array([[[-128, 127]], [[-7, 8]]], np.int8))


def test_constants_of_the_wrong_form_are_refused(tmp_path: Path) -> None:
    m = FlatModel()
    x = m.input("x", (2, 3))
    perm = m.constant("perm", np.array([0, 5], np.int32))
    y = m.op("TRANSPOSE", [x, perm], ("y", (3, 2), "float32"))
    axis = m.constant("axis", np.array([7], np.int32))
    m.output(m.op("SUM", [y, axis], ("z", (3,), "float32")))
    problems = check_tflite(m.save(tmp_path / "m.tflite"))
    assert [problem.what for problem in problems] == ["perm", "axis"]
