"""Makes the kernel harness and the emulator importable: libraries are built once for both."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))
