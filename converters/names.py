"""Names that fit into a file: what is too long loses its middle.
Which names a file takes at all is in `edgert/format`."""

from __future__ import annotations

MAX_NAME = 160
"""Bytes of a name: a .edge file holds 255, of which scopes and suffixes take some. Fused layers have longer ones."""


def shortened(name: str) -> str:
    """`name` within MAX_NAME bytes: what is too long loses its middle."""
    raw, half = name.encode(), MAX_NAME // 2 - 2
    if len(raw) <= MAX_NAME:
        return name
    return f"{raw[:half].decode('utf-8', 'ignore')}...{raw[-half:].decode('utf-8', 'ignore')}"
