"""Notes from likelihoods: onsets, silence, neighbours, what is left, names and pitches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgert.audio.notes import LOWEST, Note, find_notes

Matrix = npt.NDArray[np.float32]


def roll(*notes: tuple[int, int, int], onsets: bool = True, frames: int = 120) -> tuple[Matrix, Matrix, Matrix]:
    """(sounding, beginning, contour) of (start, end, key), each with its onset or without."""
    sounding, beginning = np.full((frames, 88), 0.05, np.float32), np.full((frames, 88), 0.05, np.float32)
    contour = np.zeros((frames, 264), np.float32)
    for start, end, key in notes:
        sounding[start:end, key] = 0.8
        contour[start:end, 3 * key] = 0.9
        if onsets:
            beginning[start, key] = 0.9
    return sounding, beginning, contour


def spans(notes: list[Note]) -> list[tuple[int, int, int]]:
    return [(note.start, note.end, note.pitch - LOWEST) for note in notes]


def test_notes_with_onsets() -> None:
    wanted = [(10, 40, 30), (20, 60, 37), (70, 90, 30)]
    assert spans(find_notes(*roll(*wanted))) == wanted


def test_a_note_without_an_onset_is_found_in_the_rest() -> None:
    sounding, beginning, contour = roll((30, 60, 40), onsets=False)
    beginning[:] = 0
    assert [key for _, _, key in spans(find_notes(sounding, beginning, contour))] == [40]


def test_short_ones_are_passed_over_and_short_gaps_bridged() -> None:
    sounding, beginning, contour = roll((10, 20, 30), (40, 80, 50))
    sounding[50:60, 50] = np.concatenate([np.full(5, 0.28), np.linspace(0.32, 0.75, 5)])  # and slowly back
    assert spans(find_notes(sounding, beginning, contour)) == [(40, 80, 50)]


def test_nothing_sounds() -> None:
    assert find_notes(*roll()) == []
    empty = np.zeros((0, 88), np.float32)
    assert find_notes(empty, empty, np.zeros((0, 264), np.float32)) == []


def test_names_and_pitches() -> None:
    assert Note(0, 1, 69, 1.0, ()).name == "A4" and Note(0, 1, 69, 1.0, ()).hz == 440
    assert Note(0, 1, 21, 1.0, ()).name == "A0" and Note(0, 1, 60, 1.0, ()).name == "C4"
    assert abs(Note(0, 1, 69, 1.0, (3, 3, 3)).hz - 466.16) < 0.01


def test_the_voice_bends_a_key() -> None:
    sounding, beginning, contour = roll((10, 40, 48))
    contour[:, 3 * 48 + 1] = 2 * contour[:, 3 * 48]
    (note,) = find_notes(sounding, beginning, contour)
    assert set(note.bends) == {1} and note.name == "A4" and abs(note.hz - 440 * 2 ** (1 / 36)) < 1e-9
