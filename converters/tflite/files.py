"""Files that are zipped behind a TFLite model: label lists, vocabularies.
What the metadata says about them is read in `metadata.py`."""

from __future__ import annotations

import io
import zipfile
import zlib

from edgert.converters.tflite.flat import Flat

MAX_FILES = 64
"""Label lists in a few languages and a vocabulary; models seen have one to three."""

END_RECORD = b"PK\x05\x06"
END_RECORD_BYTES = 22
MAX_COMMENT_BYTES = (1 << 16) - 1


def attached_files(flat: Flat) -> dict[str, bytes]:
    """The files by name; {} when no archive follows the model. Their size, unpacked, is charged to the account of the
    file before they are unpacked. Raises FormatError for an archive that is damaged or not a plain one."""
    if not _has_archive(flat):
        return {}
    at = None
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BufferedReader(_Bytes(flat))) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > MAX_FILES:
                raise flat.error(None, f"at most {MAX_FILES} files behind the model", str(len(entries)))
            for entry in entries:
                at = entry.header_offset
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise flat.error(at, f"{entry.filename!r} stored or deflated", f"method {entry.compress_type}")
                flat.charge(entry.file_size, at, f"the file {entry.filename!r}")
                with archive.open(entry) as file:
                    found[entry.filename] = file.read(entry.file_size)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError, OSError, NotImplementedError) as error:
        raise flat.error(at, "a zip archive behind the model", str(error)) from error
    return found


def _has_archive(flat: Flat) -> bool:
    """Whether the file ends with the end record of an archive, whose comment reaches to the last byte."""
    start = max(flat.data.size - END_RECORD_BYTES - MAX_COMMENT_BYTES, 0)
    tail = flat.data[start:].tobytes()
    at = tail.rfind(END_RECORD)
    if at < 0 or at + END_RECORD_BYTES > len(tail):
        return False
    comment = int.from_bytes(tail[at + 20 : at + 22], "little")
    return at + END_RECORD_BYTES + comment == len(tail)


class _Bytes(io.RawIOBase):
    """The mapped file as a file, so that the archive is read from the very bytes that were checked."""

    def __init__(self, flat: Flat) -> None:
        self._data, self._at = flat.data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._data.size}[whence]
        if base + offset < 0:
            raise OSError("a place before the start of the file")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._data[self._at : self._at + len(buffer)]
        buffer[: part.size] = part.tobytes()
        self._at += part.size
        return int(part.size)
