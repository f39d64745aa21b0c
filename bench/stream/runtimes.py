"""Processes in memory control groups of one limit, each with one runtime and the large model; asked one at a time."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.stream.group import Group

WORKER = Path(__file__).with_name("worker.py")
PATIENCE = 300
"""Seconds until a runtime that does not answer is given up: thrashing is so slow."""


class Ended(RuntimeError):
    """The runtime is gone; the message says why, as far as it is known."""


class Runtime:
    """One process in a control group of `limit` bytes; None: no group. ram: bytes that edgert may plan with."""

    def __init__(self, mode: str, file: Path, threads: int, context: int, ram: int, limit: int | None) -> None:
        self.mode = mode
        self.group = None if limit is None else Group(mode.replace(".", "-"), limit)
        python = os.environ.get("LLAMA_CPP_PYTHON", sys.executable) if mode == "llama.cpp" else sys.executable
        command = [python, str(WORKER), mode, str(file), str(threads), str(context), str(ram)]
        if self.group is not None:
            command = self.group.command(command)
        here = str(Path(__file__).parents[2])
        paths = [here, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        try:
            first = self._answer()
            if "error" in first:
                raise Ended(first["error"])
        except Ended:
            self.close()
            raise
        self.version, self.facts = str(first["version"]), dict(first["facts"])

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Ended(self._why()) from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        stream = self._process.stdout
        assert stream is not None
        if not select.select([stream], [], [], PATIENCE)[0]:
            raise Ended(f"no answer within {PATIENCE} s")
        line = stream.readline()
        if not line:
            raise Ended(self._why())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _why(self) -> str:
        code = self._process.wait()
        if self.group is not None and self.group.killed:
            return "killed by the kernel: more memory of its own than the limit"
        return f"ended with code {code}"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        if self.group is not None:
            self.group.__exit__(None, None, None)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
