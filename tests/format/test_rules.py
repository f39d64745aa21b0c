"""One test or more for every numbered rule of docs/format.md; the number is in the test's name.

Here are the file, its prelude and its header (F1 to F16). The graph is in test_rules_graph.py (F17 to F23), stored
tensors in test_rules_tensors.py (F24 to F34), memory in test_damage.py (F35), writing in test_rules_writing.py (F36
to F38), language models in test_rules_language.py (F39 to F43), sparse tensors in test_rules_sparse.py (F44 to F46)
and test_rules_sparse_*.py (F47 to F53 and F56), control flow and states in test_rules_control.py.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgert.errors import FormatError
from edgert.format import Model, read_model
from edgert.format.limits import MAX_NAME_BYTES, MAX_TEXT_BYTES

Forge = Any
Refused = Callable[..., FormatError]


def test_every_rule_has_a_test_and_every_test_a_rule(repo_root: Path) -> None:
    rules = re.findall(r"^\*\*F(\d+)\*\*", (repo_root / "docs/format.md").read_text(), re.MULTILINE)
    assert sorted(map(int, rules)) == list(range(1, len(rules) + 1))
    tests = "".join(p.read_text() for p in sorted((repo_root / "tests/format").glob("test_*.py")))
    assert {int(n) for n in re.findall(r"def test_f(\d+)_", tests)} == {int(n) for n in rules}


def test_the_example_of_the_document_runs(repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", (repo_root / "docs/format.md").read_text(), re.DOTALL)
    exec(compile(example, "docs/format.md", "exec"), {})


# The file and its prelude


def test_f01_not_an_edge_file(tmp_path: Path, small_file: Path) -> None:
    content = small_file.read_bytes()
    for name, wrong in {"png": b"\x89PNG\r\n\x1a\n" + bytes(99), "short": b"\x89ED", "text": b"hello" * 20}.items():
        (tmp_path / name).write_bytes(wrong)
        with pytest.raises(FormatError, match="magic"):
            read_model(tmp_path / name)
    for size in (8, 63):
        (tmp_path / "cut").write_bytes(content[:size])
        with pytest.raises(FormatError, match="64 bytes"):
            read_model(tmp_path / "cut")


def test_f01_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    cases = {
        tmp_path / "none": "no such file", tmp_path: "regular", tmp_path / "fifo": "regular",
        tmp_path / "empty": "empty", Path("/dev/zero"): "regular", tmp_path / "empty/x": "can be read",
        tmp_path / "loop": "can be read", tmp_path / "a\0b": "can be read", tmp_path / ("n" * 999): "can be read",
    }  # fmt: skip
    for path, reason in cases.items():
        with pytest.raises(FormatError, match=reason):
            read_model(path)


def test_f02_the_prelude_is_as_documented(small_file: Path) -> None:
    content = small_file.read_bytes()
    magic, version, flags, header, length, data, data_length, size, header_crc, crc = struct.unpack(
        "<8sIIQQQQQII", content[:64]
    )
    assert (magic, version, flags, header) == (b"\x89EDGE\r\n\x1a", 1, 0, 64)
    assert data == -(-(64 + length) // 64) * 64 and data_length % 64 == 0
    assert size == data + data_length == len(content)
    assert header_crc == zlib.crc32(content[64 : 64 + length]) and crc == zlib.crc32(content[:60])


def test_f03_prelude_crc(forge: Forge, refused: Refused) -> None:
    forge.prelude = {"prelude_crc": 0}
    assert refused("prelude CRC-32").offset == 60


def test_f04_other_versions(forge: Forge, refused: Refused) -> None:
    for version in (0, 2, 2**32 - 1):
        forge.prelude = {"version": version}
        assert refused(f"version {version}").offset == 8


def test_f05_unknown_flags(forge: Forge, refused: Refused) -> None:
    for flags in (1, 2**31):
        forge.prelude = {"flags": flags}
        refused("flags 0")


def test_f06_header_place(forge: Forge, refused: Refused) -> None:
    for field, value in {"header_offset": 128, "header_length": 1}.items():
        forge.prelude = {field: value}
        refused("header")
    forge.prelude = {"header_length": (64 << 20) + 1}
    refused("header of 2 to")


def test_f07_padding_after_the_header(forge: Forge, refused: Refused) -> None:
    forge.header["producer"] += "x" * (-(len(forge.bytes()) - len(forge.data)) % 64 + 1)
    text_end = 64 + struct.unpack_from("<Q", forge.bytes(), 24)[0]
    room = -text_end % 64 or 64
    forge.header["producer"] = forge.header["producer"][: -1 if room == 64 else None]
    text_end = 64 + struct.unpack_from("<Q", forge.bytes(), 24)[0]
    forge.pad = bytes(-text_end % 64 - 1) + b"\1"
    assert refused("zero bytes").offset == text_end


def test_f08_file_length(forge: Forge, refused: Refused) -> None:
    forge.tail = b"\0"
    refused("trailing")
    forge.tail = b""
    forge.prelude = {"file_length": len(forge.bytes()) + 64}
    refused("file length")
    forge.prelude = {"data_offset": 64}
    refused("data at byte")
    forge.prelude = {}
    forge.data = forge.data[:-1]
    forge.prelude = {"data_length": len(forge.data) + 1, "file_length": len(forge.bytes()) + 1}
    refused("truncated")


# The header as text


def test_f09_header_crc(forge: Forge, refused: Refused) -> None:
    forge.prelude = {"header_crc": 1}
    assert refused("header CRC-32").offset == 64


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (b"[]", "one JSON object"), (b'""', "one JSON object"), (b"{}{}", "JSON header"), (b"{,}", "JSON header"),
        (b"\xef\xbb\xbf{}", "JSON header"), (b'{"a":"\xff"}', "UTF-8"), (b"{'a':1}", "JSON header"),
        (b'{"a":1}\0', "JSON header"), (b'{"a":"\n"}', "JSON header"), ('{"a":1}'.encode("utf-16-le"), "JSON"),
        (b'{"a":"\xed\xa0\x80"}', "UTF-8"),
    ],
)  # fmt: skip
def test_f10_not_json(text: bytes, pattern: str, forge: Forge, refused: Refused) -> None:
    forge.header = text
    refused(pattern)


def test_f10_white_space_is_allowed(forge: Forge, accepted: Callable[[], Model]) -> None:
    import json

    forge.header = b" \n\t" + json.dumps(forge.header, indent=3).encode() + b"\r\n "
    assert accepted().info.name == "small"


def test_f11_duplicate_keys(forge: Forge, refused: Refused) -> None:
    forge.header = b'{"a":1,"b":2,"a":1}'
    refused("'a' twice")
    forge.header = b'{"source":[{"k":{"x":1,"x":1}}]}'
    refused("'x' twice")


@pytest.mark.parametrize(
    "number",
    [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9223372036854775808", b"-9223372036854775809",
     b"9" * 5000],
)  # fmt: skip
def test_f12_numbers(number: bytes, forge: Forge, refused: Refused) -> None:
    forge.header = b'{"source":{"a":' + number + b"}}"
    refused("finite|64 bits")


def test_f13_depth_and_count(forge: Forge, refused: Refused) -> None:
    nested: Any = {}
    for _ in range(40):
        nested = {"a": nested}
    forge.header["report"] = nested
    refused("32 levels")
    forge.header = b"[" * 200_000
    refused("too deep")
    forge.header = b'{"a":[0' + b",0" * (1 << 21) + b"]}"
    refused("at most 2097152 header values")


def test_f14_text(forge: Forge, refused: Refused, accepted: Callable[[], Model]) -> None:
    for bad, reason in {
        "\ud800": "surrogate", "a\x1b[2J": "control", "a\x00": "control", "\x85": "control",
        "é" * (MAX_NAME_BYTES // 2 + 1): "255 bytes",
    }.items():  # fmt: skip
        for owner, key in ((forge.header, "producer"), (forge.header["model"], "task")):
            before, owner[key] = owner[key], bad
            refused(reason)
            owner[key] = before
        forge.header["graph"]["types"]["x"]["shape"][0] = bad
        refused(reason)
        forge.header["graph"]["types"]["x"]["shape"][0] = "N"
    forge.header["report"] = {"deep": [{"k": "\udfff"}]}
    refused("surrogate")
    forge.header["report"] = {"\udfff": 1}
    refused("surrogate")
    forge.header["report"] = {}
    forge.header["model"]["licence"] = "a" * (MAX_TEXT_BYTES + 1)
    refused("1048576 bytes")
    forge.header["model"]["licence"] = "two\nlines"
    forge.header["producer"] = ""
    assert accepted().info.licence == "two\nlines"
    forge.header["tensors"][0]["name"] = ""
    refused("a name")


def objects(value: Any) -> list[dict[str, Any]]:
    """All objects with fixed keys in a header."""
    items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return ([value] if isinstance(value, dict) else []) + [o for item in items for o in objects(item)]


def test_f15_keys(forge: Forge, refused: Refused, accepted: Callable[[], Model]) -> None:
    header = forge.header
    header["source"], header["report"] = {}, {}
    free = [
        header["source"],
        header["report"],
        header["graph"]["types"],
        *(n["attrs"] for n in header["graph"]["nodes"]),
    ]
    for table in objects(header):
        if any(table is other for other in free):
            continue
        table["more"] = 1
        refused("unknown key|absent")
        del table["more"]
        for key in list(table):
            if key in ("quant", "axis"):  # optional
                continue
            kept = dict(table)
            del table[key]
            refused(f"the key '{key}'")
            table.clear()
            table.update(kept)
    header["source"]["anything"] = {"at": ["all"]}
    assert accepted().source == {"anything": {"at": ["all"]}}


def test_f16_no_conversions(forge: Forge, refused: Refused, accepted: Callable[[], Model]) -> None:
    header = forge.header
    cases: list[tuple[dict[str, Any] | list[Any], Any, list[Any]]] = [
        (header, "producer", [1, None, [], {}]),
        (header, "source", [[], None, ""]),
        (header, "tensors", [{}, None, "x"]),
        (header["graph"], "types", [[], 1]),
        (header["graph"]["inputs"], 0, [1, None, ["x"]]),
        (header["graph"]["types"]["x"]["shape"], 1, [True, 3.0, -1, None]),
        (header["graph"]["types"]["x"]["quant"], "scale", [True, "1", None, []]),
        (header["graph"]["types"]["x"]["quant"], "zero_point", [True, 1.0, "1"]),
        (header["graph"]["nodes"][0], "attrs", [[], None]),
        (header["model"]["preprocessing"], "crop", [4, [4], [4, 4, 4], [4.0, 4], [0, 4]]),
        (header["tensors"][0]["parts"][0], "offset", [False, 0.0, "0"]),
        (header["tensors"][0]["parts"][0], "crc32", [True, 1.5, -1, 2**32]),
    ]
    for owner, key, wrong in cases:
        right = owner[key]
        for value in wrong:
            owner[key] = value
            refused("expected")
        owner[key] = right
    header["model"]["preprocessing"]["mean"] = [127]
    steps = accepted().info.preprocessing
    assert steps is not None and steps.mean == [127.0]
