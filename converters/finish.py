"""The end of every conversion: model and report are written, each under its name only when both are whole.
What is in them comes from `convert.py` for networks and `llm/convert.py` for language models."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgert.errors import InputError
from edgert.format import Model, write_model

if TYPE_CHECKING:
    from edgert.converters.llm.report import LanguageReport
    from edgert.converters.report import Report

HASH_BLOCK = 1 << 20


@dataclass(frozen=True)
class ConversionResult:
    """What a conversion made: the file, the model in it, the report, and the seconds it took."""

    path: Path
    model: Model
    report: Report | LanguageReport
    seconds: float


def hash_of(files: Iterable[Path]) -> str:
    """SHA-256 over the content of `files`, in hexadecimal."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(HASH_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def write(model: Model, out: Path, report_path: Path | None) -> None:
    """Writes `model` and, as JSON, its report. Raises InputError where the report can not be written."""
    if report_path is None:
        write_model(model, out)
        return
    temporary = report_path.with_name(f".{report_path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(json.dumps(model.report, indent=1) + "\n", "utf-8")
        write_model(model, out)
        temporary.replace(report_path)
    except OSError as error:
        raise InputError(f"{report_path}: the report can not be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
