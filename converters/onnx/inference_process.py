"""`onnx.shape_inference` in a process of its own: it is C++ that aborts on some models, and must not take us along.
Run as a script this file is that process; what is made of the answer is in `hints.py`."""

from __future__ import annotations

import atexit
import os
import select
import struct
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

SECONDS, PER_NODE = 10.0, 0.01
"""The longest an answer is waited for: real graphs take less than a millisecond per node, a bad one takes for ever."""

_LENGTH = struct.Struct("<Q")


class InferenceProcess:
    """Starts with the first question, serves one at a time, and starts anew after it died. Safe to use from several
    threads, and after a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def infer(self, model: ModelProto) -> ModelProto | None:
        """`model` with the types that could be inferred, None where the process failed or took too long."""
        with self._lock:
            try:
                child = self._running()
                if child.stdin is None or child.stdout is None:
                    return None
                _write(child.stdin, model.SerializeToString())
                answer = _read(child.stdout, SECONDS + PER_NODE * len(model.graph.node))
            except (OSError, EOFError, TimeoutError, ValueError):
                self.close()
                return None
            except BaseException:  # an interrupt: the answer that still comes must not be taken for the next
                self.close()
                raise
            return type(model).FromString(answer) if answer else None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._owner != os.getpid() or self._child.poll() is not None:
            self._child = subprocess.Popen(
                [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self._owner = os.getpid()
        return self._child

    def close(self) -> None:
        """Ends the process. May be called at any time."""
        child, self._child = self._child, None
        if child is not None and self._owner == os.getpid():
            child.kill()
            child.communicate()


def _write(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def _read(pipe: IO[bytes], seconds: float | None) -> bytes:
    """One message. Raises EOFError where the other side ended, TimeoutError where it stays silent."""
    if seconds is not None and not select.select([pipe], [], [], seconds)[0]:
        raise TimeoutError
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (size,) = _LENGTH.unpack(head)
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


def serve() -> None:
    """Answers until nobody asks any more. An empty answer: nothing could be inferred."""
    import onnx

    while True:
        try:
            question = _read(sys.stdin.buffer, None)
        except EOFError:
            return
        try:
            model = onnx.ModelProto.FromString(question)
            found = onnx.shape_inference.infer_shapes(model, check_type=False, strict_mode=False, data_prop=True)
            answer = found.SerializeToString()
        except Exception:  # whatever it stumbles over, the declared types are still there
            answer = b""
        _write(sys.stdout.buffer, answer)


PROCESS = InferenceProcess()
atexit.register(PROCESS.close)

if __name__ == "__main__":
    serve()
