"""Whether an object keeps to the instructions of its level: one that a processor lacks would end the process there.

Extensions are told from mnemonics and registers, in listings as listing.py makes them. A level may use those that its
LLVM target has and its `needs` ask of the processor; all others are leaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from edgert.errors import KernelError
from edgert.kernels_cpu.jit import LISTING, object_name
from edgert.kernels_cpu.levels import Level

# Extension -> what its instructions look like: mnemonic, then kinds of registers. Beyond Armv8.0, beyond Armv7 with
# NEON, VFPv4 and division, beyond SSE2, and beyond WebAssembly 2.0 with simd128.
_ARM64 = {
    "lse": r"(cas|swp|(ld|st)(add|clr|eor|set|[su]max|[su]min))p?(a|l|al)?[bh]?",
    "rdm": r"sqrdml[as]h",
    "crc": r"crc32\w*",
    "fp16": r"(f(?!cvt[ln]?2? |mlal|mlsl|cadd|cmla)\w+|[su]cvtf) .*\b(h|v\.[48]?h)",
    "fhm": r"fml[as]l2?",
    "dotprod": r"[su]dot",
    "i8mm": r"(us|su)dot|us?mmla|smmla",
    "bf16": r"bf(dot|mmla|mlal[bt]?|cvt\w*)",
    "rcpc": r"ldap\w+|stlur\w*",
    "complex": r"fcadd|fcmla|fjcvtzs",
    "crypto": r"aes\w+|sha\d\w*|sm[34]\w*|eor3|rax1|xar|bcax|pmull2? .*v\.1q",
    "pauth": r"pac\w+|aut\w+|xpac\w*|bl?ra[ab]z?|reta[ab]|bti",
    "frint": r"frint(32|64)[xz]",
    "flags": r"cfinv|rmif|setf\d+|axflag|xaflag",
    "sve": r".*\b[pz]\b.*|cnt[bhwd]|rdvl|ptrue",
}
_ARM32 = {
    "v8": r"lda\w*|stl(ex\w*|[bh]?)|sevl|hlt|vrint\w+|vcvt[anpm]\..*|v(max|min)nm\..*|vsel\w+\..*",
    "crc": r"crc32\w*",
    "crypto": r"aes\w+|sha\d\w+|vmull\.p64",
    "fp16": r"v(?!cvt)\w+\.f16|vfma[lt]\..*|vmovx\..*|vins\..*",
    "dotprod": r"v[su]dot\..*",
    "i8mm": r"v(us|su)dot\..*|v(us?|s)mmla\..*",
    "bf16": r"\w+\.bf16",
}
_X86 = {
    "sse3": r"(addsub|h(add|sub))p[sd]|lddqu|movddup|movs[hl]dup|fisttp\w*",
    "ssse3": r"pshufb|pmaddubsw|palignr|ph(add|sub)\w+|pabs[bwd]|psign[bwd]|pmulhrsw",
    "sse4": (
        r"pmulld|pmuldq|pmov[sz]x\w+|p(max|min)(s[bd]|u[wd])|p?blend\w+|p(ext|ins)r[bdq]|insertps|extractps"
        r"|round[ps][sd]|ptest|packusdw|dpp[sd]|mpsadbw|phminposuw|pcmp(eq|gt)q|pcmp[ei]str\w|movntdqa"
    ),
    "popcnt": r"popcnt\w?",
    "crc": r"crc32\w?",
    "lzcnt": r"lzcnt\w?",
    "movbe": r"movbe\w?",
    "bmi": r"andn\w?|bextr\w?|bls(i|msk|r)\w?|tzcnt\w?",
    "bmi2": r"bzhi\w?|mulx\w?|p(dep|ext)\w?|rorx\w?|sa(r|h)x\w?|sh(l|r)x\w?",
    "f16c": r"vcvtp[hs]2p[hs]x? .*",
    "fma": r"vfn?m(add|sub)\w+ .*|vfm(add|sub)(add|sub)\w+ .*",
    "avx2": r"v\w+ .*\b[xy]mm\b.*|vzero\w+",
    "vnni": r"vpdp(bu|ws)sds?",
    "vnniint": r"vpdp(b(ss|su|uu)|w(su|us|uu))ds?",
    "ifma": r"vpmadd52\w+",
    "avx512": (
        r".*\b(zmm|k)\b.*|vpternlog[dq]|vperm[it]2\w+|vmovdq[ua](8|16|32|64)|vp(and|andn|or|xor)[dq]|valign[dq]"
        r"|vrndscale\w+|v(extract|insert|broadcast)[if](32|64)x\d|vp(sraq|mullq|absq)|vp(max|min)[su]q|vpro[lr]v?[dq]"
    ),
    "avx512vbmi": r"v(perm[it]2b|permb|pmultishiftqb) .*",
    "avx512vbmi2": r"vp(compress|expand)[bw] .*|vpsh[lr]dv?[wdq] .*",
    "avx512cd": r"vpconflict[dq] .*|vplzcnt[dq] .*|vpbroadcastm\w+ .*",
    "avx512bitalg": r"vpopcnt[bwdq] .*|vpshufbitqmb .*",
    "avx512fp16": r"v(?!cvtps2ph)\w+[ps]h",
    "avx512bf16": r"vdpbf16ps .*|vcvtne\w*bf16 .*",
    "gfni": r"v?gf2p8\w+.*",
    "aes": r"v?aes\w+.*|v?pclmul\w+.*",
    "amx": r"tile\w+|(st|ld)tilecfg|.*\btmm\b.*",
}
_WASM = {
    "relaxed": r"\w+\.relaxed_\w+",
    "threads": r"\w+\.atomic\.\S+|atomic\.fence",
    "fp16": r"f16x8\.\w+|f32\.(load|store)_f16",
    "exceptions": r"try\w*|catch\w*|throw\w*|rethrow|delegate",
    "tail": r"return_call\w*",
    "wide": r"i64\.(add|sub)128|i64\.mul_wide_[su]",
}
EXTENSIONS = {"aarch64": _ARM64, "armv7": _ARM32, "x86_64": _X86, "wasm32": _WASM}

_V3 = {"sse3", "ssse3", "sse4", "popcnt", "bmi", "bmi2", "f16c", "fma", "avx2"}
_V4 = _V3 | {"vnni", "avx512", "avx512vbmi", "avx512vbmi2"}
_V82 = {"lse", "fp16", "dotprod"}
ALLOWED: dict[str, set[str]] = {
    "x86-64": set(),
    "x86-64-v3": _V3,
    "x86-64-v3-vnni": _V3 | {"vnni"},
    "x86-64-v4-vnni": _V4,
    "x86-64-amx": _V4 | {"amx"},
    "armv8-a": set(),
    "armv8.2-dotprod": _V82,
    "armv8.6-i8mm": _V82 | {"i8mm"},
    "armv7-neon": set(),
    "wasm32-simd128": set(),
}
"""Level -> the extensions that it may use, all of them certain where its `needs` are met."""


def extensions(listing: Iterable[str], arch: str) -> dict[str, list[str]]:
    """Extension -> its instructions in a listing (listing.instructions), for the extensions that it uses."""
    found: dict[str, list[str]] = {}
    patterns = {name: re.compile(pattern) for name, pattern in EXTENSIONS[arch].items()}
    for line in listing:
        mnemonic = line.partition(" ")[0]
        for name, pattern in patterns.items():
            if pattern.fullmatch(line) or pattern.fullmatch(mnemonic):
                found.setdefault(name, []).append(line)
    return found


def leaks(listing: Iterable[str], level: Level) -> list[str]:
    """The instructions that a processor of `level` may lack, one sentence for each extension; nothing where all is
    well. listing: as listing.instructions makes it."""
    return [
        f"{name} is not part of {level.name}: {', '.join(lines)}"
        for name, lines in extensions(listing, level.arch).items()
        if name not in ALLOWED[level.name]
    ]


def hold_to_level(objects: Path, names: Iterable[str], level: Level) -> None:
    """Raises KernelError where an object of the kernels `names` has instructions that `level` has not."""
    problems = []
    for name in names:
        listing = (objects / object_name(name)).with_suffix(LISTING)
        try:
            found = leaks(listing.read_text("utf-8").splitlines(), level)
        except OSError as error:
            raise KernelError(f"{listing} is missing; delete {listing.with_suffix('.o').name} and run again") from error
        problems += [f"{name}: {problem}" for problem in found]
    if problems:
        raise KernelError(f"kernels do not keep to {level.name}: {'; '.join(problems)}")
