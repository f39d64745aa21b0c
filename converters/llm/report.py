"""What the conversion of a language model did: which weights are stored without loss, what rounding cost, bytes.
A plain dictionary for the header of the file, and a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edgert.converters.llm.pack import Packed

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
        lines = [
            f"weights {self.weights}: {self.bytes_before / 1e6:.2f} MB -> {self.bytes_after / 1e6:.2f} MB, "
            f"{_bits(matrices):.2f} bits per weight of the matrices"
        ]
        kinds: dict[tuple[str, str, bool], list[Packed]] = {}
        for tensor in matrices:
            kinds.setdefault((tensor.source, tensor.encoding, tensor.lossless), []).append(tensor)
        for (source, encoding, lossless), same in sorted(kinds.items(), key=lambda item: -_bits(item[1])):
            how = "lossless" if lossless else f"relative error up to {max(t.error for t in same):.2g}"
            lines.append(
                f"{len(same):4} matrices {source} -> {encoding}{_density(same)}, {_bits(same):.2f} bits: {how}"
            )
        if self.lossless:
            lines.append("nothing was lost: every weight is the source's")
        shown = matrices if every_layer else [t for t in matrices if not t.lossless]
        worst_first = sorted(shown, key=lambda t: -t.error)
        for tensor in worst_first if every_layer else worst_first[:SHOWN]:
            kind = f"{tensor.encoding}{_density([tensor])}"
            lines.append(
                f"  {tensor.name:24} {tensor.source:12} {kind:19} {_bits([tensor]):5.2f} bits  error {tensor.error:.3g}"
            )
        lines += [f"note: {note}" for note in [*self.notes, *self.zeros()]]
        return "\n".join(lines + self.summary + [f"warning: {warning}" for warning in self.warnings])

    def zeros(self) -> list[str]:
        """What became of matrices with many zeros that are stored all the same."""
        dense = [tensor for tensor in self.tensors if tensor.zeros and tensor.density == 1.0]
        if not dense:
            return []
        return [f"{len(dense)} matrices have zeros that are stored, such as {dense[0].name}: {dense[0].zeros}"]


def _count(tensors: Sequence[Packed]) -> int:
    return sum(tensor.shape[0] * tensor.shape[1] for tensor in tensors)


def _bits(matrices: Sequence[Packed]) -> float:
    """Stored, per weight."""
    return 8 * sum(tensor.nbytes for tensor in matrices) / max(_count(matrices), 1)


def _density(matrices: Sequence[Packed]) -> str:
    """', 50 % kept' where not all weights are stored; '' for all."""
    share = sum(t.density * _count([t]) for t in matrices) / max(_count(matrices), 1)
    return "" if share == 1.0 else f", {100 * share:.0f} % kept"
