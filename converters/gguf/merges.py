"""The merges of a BPE vocabulary, as pairs of tokens in the order they apply: read from their text, or from scores.
The tokens themselves are `tokenizer.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgert.errors import FormatError

MAX_PIECE = 512
"""Characters of a token that merges make: every place it could be cut is looked at. SentencePiece stops at 16 unless
told otherwise, runs of spaces or dashes reach some 100."""

MAX_CUTS = 1 << 25
"""Places to cut, over all tokens. A vocabulary of 262,144 has 2 million; this many take a few seconds."""


def merges_from_text(lines: Sequence[str], vocabulary: Mapping[str, int], file: Path | None) -> list[tuple[str, str]]:
    """`lines` are 'left right', best first (`tokenizer.ggml.merges`); a token may start with the space itself.

    Raises FormatError for a line that is no pair, or whose halves or union are not in `vocabulary`.
    """
    pairs = []
    for number, line in enumerate(lines):
        cut = line.find(" ", 1) if isinstance(line, str) else -1
        if cut < 0 or cut + 1 == len(line):
            raise FormatError(file, None, f"a pair of tokens as merge {number}", repr(line)[:80])
        left, right = line[:cut], line[cut + 1 :]
        for piece in (left, right, left + right):
            if piece not in vocabulary:
                found = f"{piece[:60]!r}, which is not"
                raise FormatError(file, None, f"merge {number} to be between tokens of the vocabulary", found)
        pairs.append((left, right))
    return pairs


def merges_from_scores(scores: Mapping[str, float], file: Path | None) -> list[tuple[str, str]]:
    """Merges that do what SentencePiece does with `scores` (of the pieces that text can become): of all neighbours
    whose union is a piece, join those whose union scores best, leftmost first (Kudo & Richardson 2018).

    Each piece gives one merge for each way to cut it into two pieces. That is exact while scores differ, as they
    do when SentencePiece trained the vocabulary: a score is minus the rank of the merge that made the piece. Among
    cuts of one piece the longer left half comes first, as in Hugging Face's converter.
    Raises FormatError if pieces are longer than MAX_PIECE, or all together longer than MAX_CUTS.
    """
    longest = max(scores, key=len, default="")
    if len(longest) > MAX_PIECE:
        found = f"{len(longest)}: {longest[:40]!r}..."
        raise FormatError(file, None, f"tokens of at most {MAX_PIECE} characters", found)
    if (cuts := sum(map(len, scores))) > MAX_CUTS:
        raise FormatError(file, None, f"tokens of at most {MAX_CUTS} characters together", str(cuts))
    pairs = [
        (piece[:cut], piece[cut:], score)
        for piece, score in scores.items()
        for cut in range(len(piece) - 1, 0, -1)
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    pairs.sort(key=lambda pair: pair[2], reverse=True)  # stable: cuts of one piece stay in order
    return [(left, right) for left, right, _ in pairs]


def shared_scores(scores: Mapping[str, float]) -> int:
    """How many pieces of two or more characters have the score of another such piece: there ties are decided by
    position in SentencePiece, but by rank here."""
    values = [score for piece, score in scores.items() if len(piece) > 1]
    return len(values) - len(set(values))
