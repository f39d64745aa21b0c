"""Where edgert keeps what it can make again: compiled kernels, calibrations and downloads.

Only the place is decided here; every part of edgert has its own folder below it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_root() -> Path:
    """EDGERT_CACHE if set, else the user's cache folder of this system; not created here."""
    chosen = os.environ.get("EDGERT_CACHE", "")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edgert"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "edgert"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgert"
