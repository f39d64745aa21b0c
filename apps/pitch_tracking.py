"""Writes down the notes of a recording with basic-pitch, window after window. Meant to be copied and changed.

python -m edgert.apps.pitch_tracking basic-pitch.edge song.wav
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np

import edgert
from edgert.audio import Note, find_notes, read_wav, resample
from edgert.errors import EdgertError, InputError

RATE, HOP, WINDOW = 22050, 256, 43844
"""Hz, samples per frame, and samples the model hears at a time. Source: Basic Pitch, constants.py."""
FRAMES_PER_WINDOW, FRAMES_PER_SECOND = 172, 86
OVERLAP = 30
"""Frames that two windows share; each gives up half of them."""
OUTPUTS = {
    "note": ("note", "StatefulPartitionedCall:1"),
    "onset": ("onset", "StatefulPartitionedCall:2"),
    "contour": ("contour", "StatefulPartitionedCall:0"),
}
"""What the model says, and its names for it in TFLite and in ONNX."""


class PitchTracker:
    """basic-pitch as an .edge file. Raises InputError for another model."""

    def __init__(self, session: edgert.Session) -> None:
        inputs, names = session.get_inputs(), [value.name for value in session.get_outputs()]
        if len(inputs) != 1 or inputs[0].shape[1:] != [WINDOW, 1]:
            found = ", ".join(f"{value.name} {value.shape}" for value in inputs)
            raise InputError(f"expected a model of one input [N, {WINDOW}, 1], as basic-pitch; found {found}")
        found_names = {key: next((n for n in names if n in known), "") for key, known in OUTPUTS.items()}
        if not all(found_names.values()):
            raise InputError(f"expected the outputs note, onset and contour; found {', '.join(names)}")
        self.session, self.input, self.outputs = session, inputs[0].name, found_names
        if isinstance(batch := inputs[0].shape[0], str):
            session.plan({batch: 1})  # now, not when the first window comes

    def listen(self, samples: Any) -> dict[str, Any]:
        """float32 [n] at RATE -> note and onset [frames, 88], contour [frames, 264]: likelihoods, 86 a second."""
        lead = np.zeros(OVERLAP * HOP // 2, np.float32)
        padded = np.concatenate([lead, samples, np.zeros(WINDOW, np.float32)])
        kept: dict[str, list[Any]] = {key: [] for key in self.outputs}
        for start in range(0, len(lead) + len(samples), WINDOW - OVERLAP * HOP):
            window = padded[start : start + WINDOW]
            made = self.session.run({self.input: window[None, :, None]})
            for key, name in self.outputs.items():
                kept[key].append(made[name][0, OVERLAP // 2 : -OVERLAP // 2])
        frames = len(samples) * FRAMES_PER_SECOND // RATE
        return {key: np.concatenate(rows)[:frames] for key, rows in kept.items()}

    def notes(self, samples: Any, onset_threshold: float = 0.5, frame_threshold: float = 0.3) -> list[Note]:
        """The notes in float32 [n] at RATE."""
        heard = self.listen(samples)
        return find_notes(
            heard["note"], heard["onset"], heard["contour"],
            onset_threshold=onset_threshold, frame_threshold=frame_threshold,
        )  # fmt: skip


def seconds(frame: int) -> float:
    """When a frame is. Windows are a little shorter than their frames. Source: Basic Pitch, note_creation.py."""
    late = HOP / RATE * (FRAMES_PER_WINDOW - WINDOW / HOP) + 0.0018
    return frame * HOP / RATE - late * (frame // FRAMES_PER_WINDOW)


def main(argv: list[str] | None = None) -> int:
    """0, or 1 when something went wrong, 2 for wrong use, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="pitch_tracking", description="Write down the notes of a recording.")
    parser.add_argument("model", help="basic-pitch as a .edge file")
    parser.add_argument("sound", help="a WAV file")
    parser.add_argument("--onset", type=float, default=0.5, help="likelihood from which a note begins (default 0.5)")
    parser.add_argument("--frame", type=float, default=0.3, help="likelihood from which it goes on (default 0.3)")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print one JSON object")
    parser.add_argument("--threads", type=int, metavar="N", help="default: the cores this process may use")
    options = parser.parse_args(argv)
    try:
        sound = read_wav(options.sound)
        with edgert.load(options.model, threads=options.threads) as session:
            tracker = PitchTracker(session)
            began = time.perf_counter()
            notes = tracker.notes(resample(sound.mono, sound.rate, RATE), options.onset, options.frame)
            took = time.perf_counter() - began
            print(session.summary(), file=sys.stderr)
    except EdgertError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    if options.as_json:
        rows = [
            {"start": seconds(n.start), "end": seconds(n.end), "note": n.name, "hz": n.hz, "amplitude": n.amplitude}
            for n in notes
        ]
        print(json.dumps({"sound": options.sound, "seconds": sound.seconds, "notes": rows}))
        return 0
    for n in notes:
        print(f"{seconds(n.start):7.2f} s  {seconds(n.end) - seconds(n.start):5.2f} s  {n.name:3}  {n.hz:7.1f} Hz")
    print(f"{len(notes)} notes in {sound.seconds:.1f} s of sound, heard in {took:.2f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
