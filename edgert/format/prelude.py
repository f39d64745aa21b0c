"""The first 64 bytes of a `.edge` file: where the header and the data are, and their checks.

Only the prelude is packed and judged here (rules F2 to F8); the file is opened in `reader.py`.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from edgert.errors import FormatError
from edgert.format.limits import MAGIC, MAX_HEADER_BYTES, PRELUDE_BYTES, VERSION, aligned

_FIELDS = struct.Struct("<8sIIQQQQQI")  # all but the prelude's own CRC, the last u32
_CRC = struct.Struct("<I")
_DAMAGED = "the file is damaged: copy or convert it again"


@dataclass(frozen=True)
class Prelude:
    """Offsets and lengths in bytes; `header_crc32` is of the header's JSON text."""

    header_length: int
    data_length: int
    header_crc32: int

    @property
    def data_offset(self) -> int:
        return aligned(PRELUDE_BYTES + self.header_length)

    @property
    def file_length(self) -> int:
        return self.data_offset + self.data_length

    def pack(self) -> bytes:
        """The 64 bytes."""
        head = _FIELDS.pack(
            MAGIC, VERSION, 0, PRELUDE_BYTES, self.header_length,
            self.data_offset, self.data_length, self.file_length, self.header_crc32,
        )  # fmt: skip
        return head + _CRC.pack(zlib.crc32(head))

    @classmethod
    def unpack(cls, data: bytes, file: Path, size: int) -> Prelude:
        """Judges the first 64 bytes of `file`, whose true length is `size`. Raises FormatError."""
        if data[:8] != MAGIC[: len(data)] or size < len(MAGIC):
            raise FormatError(
                file, 0, "the magic number of a .edge file", repr(bytes(data[:8])),
                "convert the model with `edgert convert`",
            )  # fmt: skip
        if len(data) < PRELUDE_BYTES:
            raise FormatError(file, size, "a prelude of 64 bytes", f"a file of {size} bytes", _DAMAGED)
        head, (crc,) = data[: _FIELDS.size], _CRC.unpack_from(data, _FIELDS.size)
        if zlib.crc32(head) != crc:
            raise FormatError(file, _FIELDS.size, f"prelude CRC-32 {zlib.crc32(head):#010x}", f"{crc:#010x}", _DAMAGED)
        (_, version, flags, header_offset, header_length, data_offset, data_length, length, header_crc) = (
            _FIELDS.unpack(head)
        )
        if version != VERSION:
            raise FormatError(
                file, 8, f".edge version {VERSION}", f"version {version}",
                "update edgert, or convert the model again with this version",
            )  # fmt: skip
        if flags != 0:
            raise FormatError(file, 12, "flags 0", f"{flags:#x}", "update edgert")
        if header_offset != PRELUDE_BYTES:
            raise FormatError(file, 16, f"the header at byte {PRELUDE_BYTES}", str(header_offset))
        if not 2 <= header_length <= MAX_HEADER_BYTES:
            raise FormatError(file, 24, f"a header of 2 to {MAX_HEADER_BYTES} bytes", str(header_length))
        prelude = cls(header_length, data_length, header_crc)
        if data_offset != prelude.data_offset:
            raise FormatError(file, 32, f"data at byte {prelude.data_offset}", str(data_offset))
        if length != prelude.file_length:
            raise FormatError(file, 48, f"file length {prelude.file_length}", str(length))
        if size != length:
            what = "truncated" if size < length else "trailing bytes"
            raise FormatError(file, min(size, length), f"a file of {length} bytes", f"{size} bytes ({what})", _DAMAGED)
        return prelude
