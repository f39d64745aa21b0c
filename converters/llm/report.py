"""What the conversion of a language model did: which weights are stored without loss, what rounding cost, bytes.
A plain dictionary for the header of the file, and a table for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from edgert.converters.llm.pack import BITS, Packed

SHOWN = 5


@dataclass
class LanguageReport:
    """Sizes in bytes. bytes_before: of the weights as they were. tensors: every weight, in order.

    quality: what was measured of the model before and after, such as perplexity; free-form. summary: lines on it.
    warnings: what a person must not miss.
    """

    weights: str
    bytes_before: int = 0
    bytes_after: int = 0
    tensors: list[Packed] = field(default_factory=list)
    operators: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    quality: dict[str, Any] = field(default_factory=dict)
    summary: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def lossless(self) -> bool:
        """Whether the file holds the very numbers of the source."""
        return all(tensor.lossless for tensor in self.tensors)

    def as_dict(self) -> dict[str, Any]:
        """JSON values only; errors rounded to what they mean."""
        tensors = [{**asdict(t), "shape": list(t.shape), "error": float(f"{t.error:.4g}")} for t in self.tensors]
        found = {**asdict(self), "tensors": tensors, "lossless": self.lossless}
        del found["summary"]
        return found

    def table(self, every_layer: bool = False) -> str:
        """Lines for people: totals, kinds of weights, then the worst of them, or every one."""
        matrices = [tensor for tensor in self.tensors if len(tensor.shape) == 2]
        weights, nbytes = sum(_count(t) for t in matrices), sum(t.nbytes for t in matrices)
        lines = [
            f"weights {self.weights}: {self.bytes_before / 1e6:.2f} MB -> {self.bytes_after / 1e6:.2f} MB, "
            f"{8 * nbytes / max(weights, 1):.2f} bits per weight of the matrices"
        ]
        kinds = Counter((t.source, t.encoding, t.lossless) for t in matrices)
        for (source, encoding, lossless), count in sorted(kinds.items(), key=lambda item: -BITS[item[0][1]]):
            same = [t for t in matrices if (t.source, t.encoding, t.lossless) == (source, encoding, lossless)]
            worst = max(t.error for t in same)
            how = "lossless" if lossless else f"rounded, relative error up to {worst:.2g}"
            lines.append(f"{count:4} matrices {source} -> {encoding}: {how}")
        if self.lossless:
            lines.append("nothing was lost: every weight is the source's")
        shown = matrices if every_layer else [t for t in matrices if not t.lossless]
        worst_first = sorted(shown, key=lambda t: -t.error)
        for tensor in worst_first if every_layer else worst_first[:SHOWN]:
            lines.append(f"  {tensor.name:24} {tensor.source:12} {tensor.encoding:4} error {tensor.error:.3g}")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines + self.summary + [f"warning: {warning}" for warning in self.warnings])


def _count(tensor: Packed) -> int:
    return tensor.shape[0] * tensor.shape[1]
