"""Notes in what a pitch tracker says of each frame: how likely a key sounds, and how likely it begins to.
Source: Bittner et al. 2022, A Lightweight Instrument-Agnostic Model for Polyphonic Note Transcription, section 3.3;
the pass over what is left is that of Salamon and Gomez 2012 (Melodia)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

LOWEST = 21
"""MIDI number of the first key, A0; concert pitch is A4, 440 Hz."""
THIRDS = 3
"""Bins of the contour per semitone."""
PATIENCE = 11
"""Frames below the threshold after which a note has ended."""
REACH, SPREAD = 25, 5.0
"""The contour is searched so many bins around a key, those further off weighted down by a Gaussian of this width."""
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

Matrix: TypeAlias = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Note:
    """start, end: frames, end excluded. pitch: MIDI number. amplitude: mean likelihood. bends: how far the voice is
    from the key in each frame, in thirds of a semitone."""

    start: int
    end: int
    pitch: int
    amplitude: float
    bends: tuple[int, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """Such as 'A4'."""
        return f"{NAMES[self.pitch % 12]}{self.pitch // 12 - 1}"

    @property
    def hz(self) -> float:
        """Of the voice: the key and its median bend."""
        bend = float(np.median(self.bends)) / THIRDS if self.bends else 0.0
        return float(440.0 * 2.0 ** ((self.pitch + bend - 69) / 12))


def find_notes(
    sounding: Matrix,
    beginning: Matrix,
    contour: Matrix,
    *,
    onset_threshold: float = 0.5,
    frame_threshold: float = 0.3,
    shortest: int = 11,
) -> list[Note]:
    """Notes longer than `shortest` frames, by their begin.

    sounding, beginning: likelihoods [frames, keys]; contour: [frames, 3 * keys], with the keys at every third bin.
    """
    energy = np.array(sounding, np.float64)
    spans = [
        *_from_onsets(energy, _with_inferred(beginning, sounding), onset_threshold, frame_threshold, shortest),
        *_from_rest(energy, frame_threshold, shortest),
    ]
    notes = [
        Note(start, end, key + LOWEST, float(np.mean(sounding[start:end, key])), _bends(contour[start:end], key))
        for start, end, key in spans
    ]
    return sorted(notes, key=lambda note: (note.start, note.pitch))


def _with_inferred(beginning: Matrix, sounding: Matrix, lags: int = 2) -> Matrix:
    """Onsets, also where a key grows louder over `lags` frames, on the scale of the model's own onsets."""
    rows = np.asarray(sounding, np.float64)
    rises = []
    for lag in range(1, lags + 1):
        before = np.concatenate([np.zeros((lag, rows.shape[1])), rows[:-lag]])[: len(rows)]
        rises.append(rows - before)
    rise = np.maximum(np.min(rises, axis=0), 0)
    rise[:lags] = 0
    if rise.size and rise.max() > 0:
        rise *= np.max(beginning) / rise.max()
    louder: Matrix = np.maximum(beginning, rise)
    return louder


def _from_onsets(
    energy: Matrix, onsets: Matrix, onset_threshold: float, frame_threshold: float, shortest: int
) -> Iterator[tuple[int, int, int]]:
    """(start, end, key) from each peak of `onsets`, the last first, until the key is silent. Takes them, and the keys
    beside them, out of `energy`."""
    inner = onsets[1:-1]
    peak = (inner > onsets[:-2]) & (inner > onsets[2:]) & (inner >= onset_threshold)
    for frame, key in np.argwhere(peak)[::-1]:
        start = int(frame) + 1
        if start >= len(energy) - 1:
            continue
        _, end = _walk(energy[:, key], start + 1, 1, frame_threshold)
        if end - start > shortest:
            energy[start:end, max(key - 1, 0) : key + 2] = 0
            yield start, end, int(key)


def _from_rest(energy: Matrix, frame_threshold: float, shortest: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, key) both ways from the loudest of what is left, until nothing is above the threshold."""
    while energy.size and energy.max() > frame_threshold:
        middle, key = (int(i) for i in np.unravel_index(np.argmax(energy), energy.shape))
        energy[middle, key] = 0
        end, last = _walk(energy[:, key], middle + 1, 1, frame_threshold)
        begin, first = _walk(energy[:, key], middle - 1, -1, frame_threshold)
        energy[begin + 1 : middle, max(key - 1, 0) : key + 2] = 0
        energy[middle + 1 : end, max(key - 1, 0) : key + 2] = 0
        start, stop = first + 1, last - 1
        if stop - start > shortest:
            yield start, stop, key


def _walk(column: Matrix, at: int, step: int, threshold: float) -> tuple[int, int]:
    """Goes on from `at` until PATIENCE frames in a row were quiet, or the sound ends: (the frame reached, the first of
    the quiet ones before it)."""
    quiet = 0
    while 0 < at < len(column) - 1 and quiet < PATIENCE:
        quiet = quiet + 1 if column[at] < threshold else 0
        at += step
    return at, at - step * quiet


def _bends(contour: Matrix, key: int) -> tuple[int, ...]:
    """In each frame of `contour` the loudest bin near `key`, as its distance from it."""
    centre = key * THIRDS
    low, high = max(centre - REACH, 0), min(centre + REACH + 1, contour.shape[1])
    weights = np.exp(-0.5 * ((np.arange(low, high) - centre) / SPREAD) ** 2)
    return tuple(int(i) + low - centre for i in np.argmax(contour[:, low:high] * weights, axis=1))
