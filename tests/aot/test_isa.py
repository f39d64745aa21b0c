"""Code with instructions that a processor of its level may lack is found: LLVM is made to plant some at every level."""

from __future__ import annotations

import llvmlite.binding as llvm
import pytest

from edgert.kernels_cpu.aot_isa import ALLOWED, EXTENSIONS, leaks
from edgert.kernels_cpu.levels import LEVELS
from edgert.kernels_cpu.listing import instructions


def arithmetic(operation: str, kind: str) -> str:
    return (
        f"define void @f(ptr %p, {kind} %x) ATTRIBUTES {{ %y = {operation} {kind} %x, %x\n"
        f" store {kind} %y, ptr %p\n ret void }}"
    )


def call(name: str, result: str, *kinds: str) -> str:
    """A function that calls an intrinsic with its own arguments."""
    values = ", ".join(f"{kind} %a{i}" for i, kind in enumerate(kinds))
    given = f"define {result} @f({values}) ATTRIBUTES {{"
    declared = f"declare {result} @llvm.{name}({', '.join(kinds)})"
    if result == "void":
        return f"{given} call void @llvm.{name}({values})\n ret void }}\n{declared}"
    return f"{given} %y = call {result} @llvm.{name}({values})\n ret {result} %y }}\n{declared}"


SUMS, BYTES, WORDS = "<4 x i32>", "<16 x i8>", "<8 x i32>"
SDOT = call("aarch64.neon.sdot.v4i32.v16i8", SUMS, SUMS, BYTES, BYTES)
USDOT = call("aarch64.neon.usdot.v4i32.v16i8", SUMS, SUMS, BYTES, BYTES)
VPDPBUSD = call("x86.avx512.vpdpbusd.256", WORDS, WORDS, WORDS, WORDS)
SCALABLE = call("vscale.i64", "i64")
POPCOUNT = call("ctpop.i64", "i64", "i64")
COUNT = "define i64 @f(ptr %p) ATTRIBUTES { %y = atomicrmw add ptr %p, i64 1 seq_cst\n ret i64 %y }"
TILE = (
    "define void @f() ATTRIBUTES { call void @llvm.x86.tilezero(i8 1)\n ret void }\ndeclare void @llvm.x86.tilezero(i8)"
)
PLANTED = [
    ("armv8-a", "+dotprod", SDOT, "dotprod is not part of armv8-a: sdot v.16b v.4s"),
    ("armv8-a", "+lse", COUNT, "lse is not part of armv8-a: ldaddal x"),
    ("armv8-a", "+fullfp16", arithmetic("fadd", "<8 x half>"), "fp16 is not part of armv8-a: fadd v.8h"),
    ("armv8-a", "+sve", SCALABLE, "sve is not part of armv8-a: "),
    ("armv8.2-dotprod", "+i8mm", USDOT, "i8mm is not part of armv8.2-dotprod: usdot v.16b v.4s"),
    ("armv8.6-i8mm", "+sve", SCALABLE, "sve is not part of armv8.6-i8mm: "),
    ("armv7-neon", "+fp-armv8", call("maxnum.v4f32", "<4 x float>", "<4 x float>", "<4 x float>"), "v8 is not part of"),
    ("x86-64", "+avx2", arithmetic("add", WORDS), "avx2 is not part of x86-64: "),
    ("x86-64", "+popcnt", POPCOUNT, "popcnt is not part of x86-64: popcntq r"),
    ("x86-64-v3", "+avx512f", arithmetic("add", "<16 x i32>"), "avx512 is not part of x86-64-v3: "),
    ("x86-64-v3", "+avxvnni", VPDPBUSD, "vnni is not part of x86-64-v3: "),
    ("x86-64-v3-vnni", "+avx512f", arithmetic("add", "<16 x i32>"), "avx512 is not part of x86-64-v3-vnni: "),
    ("x86-64-v4-vnni", "+amx-tile", TILE, "amx is not part of x86-64-v4-vnni: tilezero tmm"),
    ("wasm32-simd128", "+relaxed-simd", call("wasm.relaxed.swizzle", BYTES, BYTES, BYTES), "relaxed is not part of"),
]  # fmt: skip


def assembly(level: str, text: str) -> str:
    """What LLVM makes of a module for a level, as its text."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    given = LEVELS[level]
    machine = llvm.Target.from_triple(given.triple).create_target_machine(
        cpu=given.cpu, features=given.llvm_features, opt=3
    )
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = given.triple, str(machine.target_data)
    return str(machine.emit_assembly(module))


@pytest.mark.parametrize(
    ("level", "feature", "text", "found"), PLANTED, ids=[f"{level}{feature}" for level, feature, *_ in PLANTED]
)
def test_planted_leaks_are_found(level: str, feature: str, text: str, found: str) -> None:
    listing = instructions(assembly(level, text.replace("ATTRIBUTES", f'"target-features"="{feature}"')))
    problems = leaks(listing, LEVELS[level])
    assert any(problem.startswith(found) for problem in problems), (problems, listing)


@pytest.mark.parametrize("level", LEVELS)
def test_plain_code_leaks_nothing(level: str) -> None:
    """The same code as the level itself allows it."""
    for text in (COUNT, POPCOUNT, arithmetic("add", WORDS), arithmetic("fmul", "<4 x float>")):
        listing = instructions(assembly(level, text.replace("ATTRIBUTES", "")))
        assert listing
        assert leaks(listing, LEVELS[level]) == []


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("fcvt h s", "armv8-a"), ("fcvtl v.4h v.4s", "armv8-a"), ("fcvtn2 v.4s v.8h", "armv8-a"),
        ("ldr h x", "armv8-a"), ("dup v.8h w", "armv8-a"), ("bfi w", "armv8-a"), ("ldaxr x", "armv8-a"),
        ("ldar x", "armv8-a"), ("stlr x", "armv8-a"), ("cnt v.8b", "armv8-a"), ("vcvtb.f32.f16 s", "armv7-neon"),
        ("vfma.f32 q", "armv7-neon"),
        ("udiv r", "armv7-neon"), ("vcvtps2ph xmm ymm", "x86-64-v3"), ("shlxq r", "x86-64-v3"), ("shlq r", "x86-64"),
        ("f32x4.convert_i32x4_s", "wasm32-simd128"),
    ],
)  # fmt: skip
def test_what_looks_alike_is_no_leak(line: str, level: str) -> None:
    assert leaks([line], LEVELS[level]) == []


def test_every_level_says_what_it_may_use() -> None:
    assert ALLOWED.keys() == LEVELS.keys()
    for name, allowed in ALLOWED.items():
        assert allowed <= EXTENSIONS[LEVELS[name].arch].keys()


def test_listings_name_instructions_once_by_kinds_of_registers() -> None:
    text = "\t.text\nf:\n\tsdot\tv0.4s, v1.16b, v2.4b[1] // x\n\tsdot\tv9.4s, v3.16b, v4.4b[0]\n.LBB0_1:\tret\n"
    assert instructions(text) == ["ret", "sdot v.16b v.4b v.4s"]
    assert instructions("\tvpdpbusd\t(%rax,%r8), %zmm1, %zmm31 {%k1}\n") == ["vpdpbusd k r zmm"]
    assert instructions("\tlock\t\tcmpxchgq\t%rcx, (%rdx)\n\t{vex}\tvpdpbusd\t%ymm1, %ymm0, %ymm2\n\trep\n") == [
        "cmpxchgq r", "rep", "vpdpbusd ymm",
    ]  # fmt: skip
    assert instructions("\tvmla.i32\tq8, q9, d1[0] @ 16\n\tldr\tr0, [sp, #8]\n") == ["ldr r", "vmla.i32 d q"]
