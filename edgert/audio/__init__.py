"""Sound for models: WAV files, other sample rates, and the features of small speech models. NumPy alone.
What a model makes of them is `edgert.apps`."""

from edgert.audio.frontend import FrontendSettings, MicroFrontend
from edgert.audio.resample import resample
from edgert.audio.wav import Sound, read_wav

__all__ = ["FrontendSettings", "MicroFrontend", "Sound", "read_wav", "resample"]
