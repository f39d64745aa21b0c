"""What instructions an object is made of, from the assembly text that LLVM writes for it; aot_isa.py judges them.

An instruction is its mnemonic and the kinds of registers it names: `sdot v.16b v.4s`, `vpdpbusd zmm`, `vmla.f32 q`.
"""

from __future__ import annotations

import re

_LABEL = re.compile(r"^[^\s:]+:\s*")
_COMMENT = re.compile(r"\s*(?://|#(?![\d-])|@(?!\w*_)|;).*$")
_VECTORS = {"k", "mm", "tmm", "xmm", "ymm", "zmm"}
"""Of x86, where general registers have many names; they are all `r` here."""
_PREFIXES = {"lock", "rep", "repe", "repne", "{vex}", "{evex}"}
"""Of x86, in front of the mnemonic."""
_REGISTER = re.compile(r"%([a-z]+)\d*[a-z]*|\b([bdhpqrsvwxz])\d+(\.\d*[bdhqs])?\b")


def instructions(assembly: str) -> list[str]:
    """Every kind of instruction in a listing, once and sorted."""
    found = set()
    for line in assembly.splitlines():
        text = _LABEL.sub("", line).strip()
        if not text or text[0] in ".#/@;":
            continue
        words = text.split(None, 2)
        if words[0] in _PREFIXES and len(words) > 1:
            words = text.split(None, 1)[1].split(None, 1)
        mnemonic, operands = words[0], " ".join(words[1:])
        registers = _REGISTER.findall(_COMMENT.sub("", operands))
        kinds = {(x86 if x86 in _VECTORS else "r") if x86 else letter + shape for x86, letter, shape in registers}
        found.add(" ".join((mnemonic, *sorted(kinds))))
    return sorted(found)
