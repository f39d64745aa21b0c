"""Makes this folder's helpers (harness, lower, offers) and tests/networks.py importable by the kernel tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
