"""A detector's choice of boxes and a decoder's image, from ONNX to a session: as ONNX Runtime gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

import edgert
from edgert.converters.convert import convert

BOXES = """
<ir_version: 8, opset_import: ["": 17]>
g (float[1, n, 4] boxes, float[1, 3, n] scores) => (float[k, 4] kept, int64[k] classes, float[k] best)
<int64[1] most = {20}, float[1] overlap = {0.5}, float[1] least = {0.3}, int64 one = {1}, int64 two = {2},
 int64[1] first = {0}>
{
  chosen = NonMaxSuppression(boxes, scores, most, overlap, least)
  places = Gather<axis = 1>(chosen, two)
  classes = Gather<axis = 1>(chosen, one)
  flat = Squeeze(boxes, first)
  kept = Gather<axis = 0>(flat, places)
  best = GatherND(scores, chosen)
}
"""

DECODER = """
<ir_version: 8, opset_import: ["": 17]>
g (float[1, 8, 9, 12] x) => (float[1, 5, 36, 48] sharp, int64[1, 1, 36, 48] classes)
<float[4] scales = {1, 1, 2, 2}, float none = {0}>
{
  up = ConvTranspose<strides = [2, 2], pads = [1, 1, 1, 1]>(x, w, b)
  active = Relu(up)
  large = Resize<mode = "linear", coordinate_transformation_mode = "half_pixel">(active, , scales)
  classes = ArgMax<axis = 1>(large)
  strange = IsNaN(large)
  sharp = Where(strange, none, large)
}
"""


def test_boxes(tmp_path: Path) -> None:
    from onnxruntime import InferenceSession

    onnx.save(parser.parse_model(BOXES), tmp_path / "m.onnx")
    convert(tmp_path / "m.onnx", tmp_path / "m.edge")
    peer, rng = InferenceSession(tmp_path / "m.onnx"), np.random.default_rng(0)
    with edgert.load(tmp_path / "m.edge") as session:
        for count in (50, 200, 1):
            boxes, scores = 10 * rng.random((1, count, 4)), rng.random((1, 3, count))
            feeds = {"boxes": boxes.astype(np.float32), "scores": scores.astype(np.float32) * (count > 1)}
            found = session.run(feeds)
            for name, expected in zip(("kept", "classes", "best"), peer.run(None, feeds), strict=True):
                np.testing.assert_array_equal(found[name], expected)
            assert len(found["best"]) == (60 if count > 1 else 0)


def test_decoder_is_native(tmp_path: Path) -> None:
    from onnxruntime import InferenceSession

    rng = np.random.default_rng(1)
    model = parser.parse_model(DECODER)
    for name, shape in (("w", (8, 5, 4, 4)), ("b", (5,))):
        model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name))
    onnx.save(model, tmp_path / "m.onnx")
    convert(tmp_path / "m.onnx", tmp_path / "m.edge")
    x = rng.standard_normal((1, 8, 9, 12)).astype(np.float32)
    expected = InferenceSession(tmp_path / "m.onnx").run(None, {"x": x})
    with edgert.load(tmp_path / "m.edge") as session:
        found = session.run({"x": x})
        assert not [step.op for step in session.plan({}).steps if step.kernel.startswith("host:")]
    np.testing.assert_allclose(found["sharp"], expected[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found["classes"], expected[1])
