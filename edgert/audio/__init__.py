"""Sound for models: WAV files, other sample rates, features of small speech models, notes. NumPy alone.
What a model makes of them is `edgert.apps`."""

from edgert.audio.frontend import FrontendSettings, MicroFrontend
from edgert.audio.notes import Note, find_notes
from edgert.audio.resample import resample
from edgert.audio.wav import Sound, read_wav

__all__ = ["FrontendSettings", "MicroFrontend", "Note", "Sound", "find_notes", "read_wav", "resample"]
