"""Where edgert keeps what it can fetch or make again.

Only the place is decided here; what lies in it belongs to those who put it there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """EDGERT_CACHE if it is set, else `edgert` in the platform's cache folder. It need not exist yet."""
    chosen = os.environ.get("EDGERT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "edgert"
