"""Twins of the kernels of language models: their table rows."""

from __future__ import annotations

from edgert.kernels_gpu.table import Twin

TWINS: tuple[Twin, ...] = ()
