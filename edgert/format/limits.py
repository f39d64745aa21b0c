"""The constants of the `.edge` format: identity, alignment and every limit with the reason beside it.

Rule numbers (F..) refer to docs/format.md. Nothing here reads or writes.
"""

from __future__ import annotations

MAGIC = b"\x89EDGE\r\n\x1a"
"""A byte over 127, both line endings and the DOS end of file: text-mode transfers damage it visibly."""

VERSION = 1
PRELUDE_BYTES = 64

ALIGNMENT = 64
"""Parts start on a cache line, the widest vector load there is (F26)."""

MAX_HEADER_BYTES = 64 << 20
"""Room for a vocabulary of 250,000 tokens; small enough to read whole on a 512 MB board."""

MAX_JSON_VALUES = 1 << 21
"""Bytes `,` `[` `{` in the header: bounds what parsing allocates (`[[],[],...` grows 25-fold)."""

MAX_JSON_DEPTH = 32
"""Nesting inside `source` and `report`, the only free-form objects; the rest is at most 6 deep."""

MAX_NAME_BYTES = 255
"""Of a name in UTF-8: long enough for exported module paths, short enough to print."""

MAX_TEXT_BYTES = 1 << 20
"""Of any other string, such as a licence or a string attribute."""

MAX_RANK = 8
"""No supported operator makes a tensor of higher rank."""

MAX_TENSOR_BYTES = 1 << 46
"""Of one tensor, logical: 64 TiB, past every address space in use and far from overflowing int64."""

MAX_NODES = 1 << 17
MAX_TENSORS = 1 << 17
"""Ten times the largest exported models seen; keeps validation under a few seconds."""

MAX_NODE_TENSORS = 4096
"""Inputs, or outputs, of one node: Concat and Split are the widest."""

MAX_BODY_DEPTH = 4
"""Bodies of control flow within bodies: programs as people write them, and far from any recursion limit."""

MAX_ATTRIBUTES = 64
MAX_ATTRIBUTE_ITEMS = 1 << 16
MAX_LABELS = 1 << 18

MAX_IMAGE_SIDE = 1 << 15
"""Pixels: larger than any camera; 32768 squared still fits every index type."""

MAX_VOCABULARY = 1 << 22
"""Tokens: ten times the largest vocabulary in use."""

MAX_CONTEXT = 1 << 24
"""Tokens: every position is exact in float32."""

MAX_EOS = 64
"""Tokens that end a text: chat models have two or three."""

MAX_LANGUAGE_SIZE = 1 << 20
"""Layers, heads and widths, which are for people to read: they are bounded to be printable."""

MAX_TOKENIZER_BYTES = 64 << 20
"""Twice the largest tokenizer.json seen (a vocabulary of 262,144): bounds what its parser allocates."""

MAX_Q8_ROW = (2**31 - 1) // 127
"""Values in one q8 row: the sum of a row must fit its int32 (F31)."""


def aligned(offset: int) -> int:
    """The first multiple of ALIGNMENT that is not below `offset`."""
    return -(-offset // ALIGNMENT) * ALIGNMENT
