"""The errors edgert raises on purpose. Anything else that escapes is a bug.

Every message says what was expected, what was found and what to do. The command
line prints the message alone and exits with `exit_code`.
"""

from __future__ import annotations

from pathlib import Path


class EdgertError(Exception):
    """Base of all typed errors. `exit_code` is what the command line returns."""

    exit_code = 1


class FormatError(EdgertError):
    """A model file is not what its format promises.

    Carries the file, the byte offset where it is wrong (None when the fault has no
    place), what was expected and what was found.
    """

    def __init__(
        self,
        file: str | Path | None,
        offset: int | None,
        expected: str,
        found: str,
        hint: str = "",
    ) -> None:
        self.file, self.offset = file, offset
        self.expected, self.found, self.hint = expected, found, hint
        where = str(file) if file is not None else "model"
        if offset is not None:
            where += f" at byte {offset}"
        text = f"{where}: expected {expected}, found {found}"
        super().__init__(f"{text}; {hint}" if hint else text)


class UnsupportedError(EdgertError):
    """The model is well formed, but asks for something edgert does not do."""


class InputError(EdgertError):
    """A run was given a wrong input name, shape, dtype or value."""

    exit_code = 2


class MemoryBudgetError(EdgertError):
    """The plan needs more memory than `--ram` allows; the message names what would fit."""


class StorageError(EdgertError):
    """The storage did not give what a file holds; the message names the file, the byte and the system's reason."""


class KernelError(EdgertError):
    """A kernel library is missing, does not match this machine, or failed to build."""


class DeviceError(EdgertError):
    """There is no such OpenCL device here, it lacks what is asked of it, or it stopped answering.

    why: the fault as a clause ('no OpenCL platform was found'), '' where the message has it before its first ';'.
    """

    def __init__(self, message: str, why: str = "") -> None:
        self.why = why
        super().__init__(message)


class DeviceMemoryError(DeviceError):
    """The device has too little memory for what was to be placed there."""


class ConversionError(EdgertError):
    """A conversion was refused, for example because the measured loss exceeds `--max-loss`."""
