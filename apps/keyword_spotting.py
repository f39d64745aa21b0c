"""Hears a wake word in sound: a WAV file, or a microphone's samples on standard input. Meant to be copied and changed.

python -m edgert.apps.keyword_spotting okay_nabu.edge sound.wav --settings okay_nabu.json
arecord -q -t raw -r 16000 -f S16_LE -c 1 | python -m edgert.apps.keyword_spotting okay_nabu.edge -
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import edgert
from edgert.audio import FrontendSettings, MicroFrontend, read_wav, resample
from edgert.audio.wav import as_int16
from edgert.errors import EdgertError, InputError

CHUNK = 1600
"""Samples handed on at a time: a tenth of a second, as a microphone would."""

FEATURE_SCALE = 10 / 256
"""Features as the models were trained on them, per unit of the micro front end. Source: microWakeWord."""


class WakeWord:
    """A micro wake word listening to one stream: a model with a state, fed some 10 ms frames of features at a time.

    window: probabilities averaged; cutoff: the mean above which the word was heard.
    Raises InputError for a model that does not take [1, frames, channels] and give one probability.
    """

    def __init__(self, session: edgert.Session, cutoff: float = 0.9, window: int = 5) -> None:
        inputs, outputs = session.get_inputs(), session.get_outputs()
        shape = inputs[0].shape if len(inputs) == len(outputs) == 1 else []
        if len(shape) != 3 or not isinstance(shape[1], int) or not isinstance(shape[2], int) or shape[0] != 1:
            found = ", ".join(f"{value.name} {value.dtype}{value.shape}" for value in (*inputs, *outputs))
            raise InputError(f"expected a wake word model of one input [1, frames, channels]; found {found}")
        if window < 1:
            raise InputError(f"expected at least one probability to average, found {window}")
        self.state, self.cutoff = session.state(), cutoff
        self.input, self.output, self.frames = inputs[0], outputs[0].name, shape[1]
        types = session.model.graph.types
        self.quant_in, self.quant_out = types[self.input.name].quant, types[self.output].quant
        self.frontend = MicroFrontend(FrontendSettings(channels=shape[2]))
        self.features = np.zeros((0, shape[2]))
        self.recent: deque[float] = deque(maxlen=window)
        self.heard = 0  # frames

    def listen(self, chunks: Iterable[Any]) -> Iterator[tuple[float, float, float]]:
        """(seconds, probability, mean of the last `window`, 0 before there are so many) as int16 samples arrive."""
        for chunk in chunks:
            self.features = np.concatenate([self.features, self.frontend.process(chunk) * FEATURE_SCALE])
            while len(self.features) >= self.frames:
                rows, self.features = self.features[: self.frames], self.features[self.frames :]
                self.heard += self.frames
                probability = self.probability(rows)
                self.recent.append(probability)
                full = len(self.recent) == self.recent.maxlen
                end = (self.heard - 1) * self.frontend.step + self.frontend.window
                yield end / self.frontend.settings.rate, probability, float(np.mean(self.recent)) if full else 0.0

    def probability(self, rows: Any) -> float:
        """One step of the model: it remembers the frames before."""
        if self.quant_in is not None:
            limits = np.iinfo(self.input.dtype)
            rows = np.rint(rows / float(self.quant_in.scale) + int(self.quant_in.zero_point))
            rows = np.clip(rows, limits.min, limits.max)
        (out,) = self.state.run([self.output], {self.input.name: rows[None].astype(self.input.dtype)})
        value = float(out.ravel()[0])
        if self.quant_out is not None:
            value = (value - int(self.quant_out.zero_point)) * float(self.quant_out.scale)
        return value


def samples_of(source: str, rate: int) -> Iterator[Any]:
    """int16 [n] after int16 [n] of a WAV file, or of '-': raw 16-bit samples on standard input, already at `rate`."""
    if source == "-":
        while data := sys.stdin.buffer.read(2 * CHUNK):
            yield np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int16)
        return
    sound = read_wav(source)
    whole = as_int16(resample(sound.mono, sound.rate, rate))
    for start in range(0, len(whole), CHUNK):
        yield whole[start : start + CHUNK]


def read_settings(path: Path) -> tuple[str, float, int]:
    """(word, cutoff, window) of the .json beside a micro wake word. Raises InputError."""
    try:
        found = json.loads(path.read_text("utf-8"))
        micro = found["micro"]
        return str(found["wake_word"]), float(micro["probability_cutoff"]), int(micro["sliding_window_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected the .json of a micro wake word ({error!r})") from None


def listen_to(source: str, word: WakeWord, name: str, verbose: bool) -> bool:
    """Prints when the word is heard in one source. Whether it was."""
    above, heard, highest = False, False, 0.0
    for seconds, probability, mean in word.listen(samples_of(source, word.frontend.settings.rate)):
        highest = max(highest, mean)
        if verbose:
            print(f"{seconds:8.2f} s  {probability:.3f}  mean {mean:.3f}", flush=True)
        if mean > word.cutoff and not above:
            print(f"{source}: {seconds:.2f} s  {name}  ({mean:.2f})", flush=True)
        above = mean > word.cutoff
        heard |= above
    if not heard:
        print(f"{source}: nothing heard (at most {highest:.2f})", flush=True)
    return heard


def main(argv: list[str] | None = None) -> int:
    """0 when the word was heard in every source, 1 when not, 2 for wrong use, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="keyword_spotting", description="Hear a wake word.")
    parser.add_argument("model", help="a .edge file of a micro wake word")
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a WAV file, or - for raw samples at 16 kHz")
    parser.add_argument("--settings", type=Path, metavar="JSON", help="the .json that came with the model")
    parser.add_argument("--cutoff", type=float, help="mean probability above which the word was heard (default 0.9)")
    parser.add_argument("--window", type=int, metavar="N", help="probabilities averaged (default 5)")
    parser.add_argument("--verbose", "-v", action="store_true", help="print every probability")
    options = parser.parse_args(argv)
    try:
        name, cutoff, window = Path(options.model).stem, 0.9, 5
        if options.settings is not None:
            name, cutoff, window = read_settings(options.settings)
        cutoff = cutoff if options.cutoff is None else options.cutoff
        window = window if options.window is None else options.window
        with edgert.load(options.model, threads=1) as session:
            print(session.summary(), file=sys.stderr)
            words = [(source, WakeWord(session, cutoff, window)) for source in options.sources]
            heard = [listen_to(source, word, name, options.verbose) for source, word in words]
    except EdgertError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0 if all(heard) else 1


if __name__ == "__main__":
    sys.exit(main())
