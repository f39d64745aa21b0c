"""Shape function of TfIdfVectorizer, over token numbers.
What it computes is in `kernels_cpu/reference/text.py`."""

from __future__ import annotations

from collections.abc import Sequence

from edgert.graph.broadcast import not_quantized
from edgert.graph.infer_elementwise import one_of, present
from edgert.graph.ir import Array, Node, TensorType
from edgert.graph.registry import check, operator
from edgert.kernels_cpu.reference.text import MODES, grams


@operator("TfIdfVectorizer", inputs=(1, 1))
def tfidf_vectorizer(node: Node, ins: Sequence[TensorType | None], consts: Sequence[Array | None]) -> list[TensorType]:
    """Tokens [C] or [B, C], int32 or int64, to float32 [columns] or [B, columns]."""
    (x,) = present(ins)
    not_quantized(x)
    one_of(x.dtype, ("int64", "int32"))
    check(len(x.shape) in (1, 2), "an input of rank 1 or 2", f"shape {x.shape}")
    check(node.attr_str("mode", "") in MODES, f"mode {', '.join(MODES)}", node.attr_str("mode", ""))
    columns, _ = grams(node.attrs)
    weights, count = node.attrs.get("weights", []), len(node.attr_ints("ngram_indexes", []))
    check(not weights or len(weights) == count, f"{count} weights", weights)  # type: ignore[arg-type]
    return [TensorType("float32", (*x.shape[:-1], columns))]
