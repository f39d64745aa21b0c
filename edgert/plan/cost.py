"""Predicted time of an offer from its work and this machine's peaks; peaks are measured once and kept.

The measurement itself needs to run kernels and is runtime/calibrate.py.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from edgert.cache import cache_root
from edgert.device.cpu import cpu_name
from edgert.kernels_cpu.levels import Level, host_arch
from edgert.plan.lowering.api import Offer

OP_US = 0.03
"""Microseconds to walk over one op, one thread."""
SYNC_US = 0.2
"""Microseconds an op costs more when threads share it."""
HOST_CALL_US = 30.0
"""Microseconds of Python around one host op."""
HOST_MACS = 5e8
"""Multiply-adds per second of the NumPy reference operators: they are clear, not fast."""
HOST_BYTES = 5e8
SCALING = 0.9
"""Threads help by threads ** SCALING: measured on convolutions of 50 us and more."""


@dataclass(frozen=True)
class Peaks:
    """What one thread reaches: int8 and float multiply-adds per second, bytes moved per second between caches, and
    bytes read per second from memory, one after the other.

    dot8 is the vector unit's at every level; offers on matrix tiles state an efficiency above 1.
    source: 'measured' on this machine, or 'uncalibrated' built-in values."""

    dot8: float
    fma32: float
    bytes: float
    stream: float
    source: str = "uncalibrated"


DEFAULT_PEAKS = {
    "x86-64": Peaks(1.0e10, 1.0e10, 8e9, 8e9),
    "x86-64-v3": Peaks(9.0e10, 4.5e10, 1.2e10, 1.2e10),
    "x86-64-v3-vnni": Peaks(1.8e11, 4.5e10, 1.2e10, 1.2e10),
    "x86-64-v4-vnni": Peaks(3.0e11, 9.0e10, 1.5e10, 1.5e10),
    "x86-64-amx": Peaks(3.0e11, 9.0e10, 1.5e10, 1.5e10),
    "armv8-a": Peaks(1.2e10, 6.0e9, 4e9, 4e9),
    "armv8.2-dotprod": Peaks(7.0e10, 1.8e10, 6e9, 6e9),
    "armv8.6-i8mm": Peaks(7.0e10, 1.8e10, 6e9, 6e9),
    "armv7-neon": Peaks(4.0e9, 3.0e9, 2e9, 2e9),
    "wasm32-simd128": Peaks(1.0e10, 1.0e10, 8e9, 8e9),
}
"""For a core of about 3 GHz (x86), 2 GHz (64-bit ARM) or 1 GHz (32-bit ARM), until this machine has been measured."""


def predict_us(offer: Offer, peaks: Peaks, threads: int) -> float:
    """Microseconds: the slower of computing and moving bytes, shared among threads, and the op's own cost."""
    moving = (offer.nbytes - offer.streamed) / peaks.bytes + offer.streamed / peaks.stream
    if offer.unit == "bytes":
        seconds = moving / offer.efficiency
    else:
        peak = peaks.dot8 if offer.unit == "dot8" else peaks.fma32
        seconds = max(offer.macs / (peak * offer.efficiency), moving)
    shared = seconds * 1e6 / math.pow(threads, SCALING)
    return shared + OP_US + (SYNC_US if threads > 1 else 0.0)


def host_slowdown(level: Level, peaks: Peaks) -> float:
    """How many times slower than on the processor of DEFAULT_PEAKS the host operators are taken to be, at least 1.

    They are not measured. A slow or emulated machine is slow at both: were its native peaks alone held against fixed
    rates of the host, nodes would leave their kernels. As slow as the slowest peak, so that none does.
    """
    default = DEFAULT_PEAKS[level.name]
    pairs = ((default.dot8, peaks.dot8), (default.fma32, peaks.fma32), (default.bytes, peaks.bytes))
    return max(1.0, *(usual / found for usual, found in pairs), default.stream / peaks.stream)


def predict_host_us(macs: int, nbytes: int, slowdown: float = 1.0) -> float:
    """Microseconds of a host op; NumPy uses one thread here. slowdown: see host_slowdown()."""
    return slowdown * (HOST_CALL_US + 1e6 * (macs / HOST_MACS + nbytes / HOST_BYTES))


def peaks_path(level: Level) -> Path:
    """Where the peaks of this machine at `level` are kept: one file per processor model and level."""
    key = hashlib.sha256(f"{cpu_name()}\0{level.name}".encode()).hexdigest()[:16]
    return cache_root() / "peaks" / f"{level.name}-{key}.json"


def load_peaks(level: Level) -> Peaks:
    """The measured peaks if there are any, else the built-in ones; a level of another architecture has those."""
    default = DEFAULT_PEAKS[level.name]
    if level.arch != host_arch():
        return default
    try:
        stored = json.loads(peaks_path(level).read_text())
        values = {name: float(stored[name]) for name in ("dot8", "fma32", "bytes", "stream")}
    except (OSError, ValueError, KeyError, TypeError):
        return default
    if not all(math.isfinite(v) and v > 0 for v in values.values()):
        return default
    return Peaks(**values, source="measured")


def store_peaks(level: Level, peaks: Peaks) -> Path:
    """Writes measured peaks, whole or not at all. Raises OSError where the cache cannot be written."""
    path = peaks_path(level)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps({**asdict(peaks), "processor": cpu_name(), "level": level.name}, indent=1))
    temporary.replace(path)
    return path
