"""Functions that LLVM calls by itself, as LLVM IR: what a libc or a compiler's own library would bring.

Weak and hidden: every object has them, one copy survives linking, and none is visible from outside.
"""

from __future__ import annotations

from edgert.kernels_cpu.abi import NAME_BYTES
from edgert.kernels_cpu.levels import Level

_MEMORY = r"""
define weak hidden ptr @memset(ptr %d, i32 %c, i64 %n) #0 {
entry:
 %b = trunc i32 %c to i8
 %z = icmp eq i64 %n, 0
 br i1 %z, label %exit, label %loop
loop:
 %i = phi i64 [0, %entry], [%j, %loop]
 %p = getelementptr i8, ptr %d, i64 %i
 store i8 %b, ptr %p
 %j = add nuw i64 %i, 1
 %q = icmp eq i64 %j, %n
 br i1 %q, label %exit, label %loop
exit:
 ret ptr %d
}
define weak hidden ptr @memcpy(ptr noalias %d, ptr noalias %s, i64 %n) #0 {
entry:
 %z = icmp eq i64 %n, 0
 br i1 %z, label %exit, label %loop
loop:
 %i = phi i64 [0, %entry], [%j, %loop]
 %p = getelementptr i8, ptr %d, i64 %i
 %o = getelementptr i8, ptr %s, i64 %i
 %v = load i8, ptr %o
 store i8 %v, ptr %p
 %j = add nuw i64 %i, 1
 %q = icmp eq i64 %j, %n
 br i1 %q, label %exit, label %loop
exit:
 ret ptr %d
}
attributes #0 = { "no-builtins" nounwind }
"""

# 64-bit arithmetic that 32-bit ARM has no instruction for, under the names and with the registers of ARM's
# "Run-time ABI for the Arm Architecture", section 5. Kernels divide counts, of which the high half is mostly zero.
_ARM32 = r"""
define weak hidden {i64, i64} @__aeabi_uldivmod(i64 %n, i64 %d) #0 {
entry:
 %both = or i64 %n, %d
 %high = lshr i64 %both, 32
 %small = icmp eq i64 %high, 0
 br i1 %small, label %short, label %loop
short:
 %n32 = trunc i64 %n to i32
 %d32 = trunc i64 %d to i32
 %q32 = udiv i32 %n32, %d32
 %p32 = mul i32 %q32, %d32
 %r32 = sub i32 %n32, %p32
 %qs = zext i32 %q32 to i64
 %rs = zext i32 %r32 to i64
 br label %exit
loop:
 %i = phi i32 [0, %entry], [%i1, %loop]
 %q = phi i64 [%n, %entry], [%q2, %loop]
 %r = phi i64 [0, %entry], [%r2, %loop]
 %top = lshr i64 %q, 63
 %r0 = shl i64 %r, 1
 %r1 = or i64 %r0, %top
 %over = icmp slt i64 %r, 0
 %fit = icmp uge i64 %r1, %d
 %take = or i1 %over, %fit
 %less = sub i64 %r1, %d
 %r2 = select i1 %take, i64 %less, i64 %r1
 %q1 = shl i64 %q, 1
 %bit = zext i1 %take to i64
 %q2 = or i64 %q1, %bit
 %i1 = add i32 %i, 1
 %more = icmp ult i32 %i1, 64
 br i1 %more, label %loop, label %exit
exit:
 %qe = phi i64 [%qs, %short], [%q2, %loop]
 %re = phi i64 [%rs, %short], [%r2, %loop]
 %a = insertvalue {i64, i64} undef, i64 %qe, 0
 %b = insertvalue {i64, i64} %a, i64 %re, 1
 ret {i64, i64} %b
}
define weak hidden i64 @__aeabi_f2lz(i32 %bits) #0 {
entry:
 %e0 = lshr i32 %bits, 23
 %e1 = and i32 %e0, 255
 %e = sub i32 %e1, 127
 %m0 = and i32 %bits, 8388607
 %m1 = or i32 %m0, 8388608
 %m = zext i32 %m1 to i64
 %neg = icmp slt i32 %bits, 0
 %tiny = icmp slt i32 %e, 0
 br i1 %tiny, label %zero, label %fits
zero:
 ret i64 0
fits:
 %huge = icmp sge i32 %e, 63
 br i1 %huge, label %clamp, label %shift
clamp:
 %c = select i1 %neg, i64 -9223372036854775808, i64 9223372036854775807
 ret i64 %c
shift:
 %left = icmp sge i32 %e, 23
 %up = sub i32 %e, 23
 %down = sub i32 23, %e
 %up64 = zext i32 %up to i64
 %down64 = zext i32 %down to i64
 %upm = and i64 %up64, 63
 %downm = and i64 %down64, 63
 %l = shl i64 %m, %upm
 %s = lshr i64 %m, %downm
 %v = select i1 %left, i64 %l, i64 %s
 %minus = sub i64 0, %v
 %w = select i1 %neg, i64 %minus, i64 %v
 ret i64 %w
}
define weak hidden i32 @__aeabi_l2f(i64 %x) #0 {
entry:
 %neg = icmp slt i64 %x, 0
 %minus = sub i64 0, %x
 %a = select i1 %neg, i64 %minus, i64 %x
 %none = icmp eq i64 %a, 0
 br i1 %none, label %zero, label %norm
zero:
 ret i32 0
norm:
 %z = call i64 @llvm.ctlz.i64(i64 %a, i1 true)
 %t = shl i64 %a, %z
 %m64 = lshr i64 %t, 40
 %m = trunc i64 %m64 to i32
 %rest = and i64 %t, 1099511627775
 %above = icmp ugt i64 %rest, 549755813888
 %tie = icmp eq i64 %rest, 549755813888
 %odd0 = trunc i32 %m to i1
 %odd = and i1 %tie, %odd0
 %round = or i1 %above, %odd
 %one = zext i1 %round to i32
 %z32 = trunc i64 %z to i32
 %e = sub i32 189, %z32
 %es = shl i32 %e, 23
 %em = add i32 %es, %m
 %er = add i32 %em, %one
 %sign = select i1 %neg, i32 -2147483648, i32 0
 %f = or i32 %er, %sign
 ret i32 %f
}
declare i64 @llvm.ctlz.i64(i64, i1)
attributes #0 = { "no-builtins" nounwind }
"""

FUNCTIONS = ("memset", "memcpy", "__aeabi_uldivmod", "__aeabi_f2lz", "__aeabi_l2f")


def runtime_functions(level: Level) -> list[str]:
    """LLVM modules, as text, that an object for `level` is linked with."""
    size = "i32" if level.arch in ("armv7", "wasm32") else "i64"
    memory = _MEMORY.replace("i64", size)
    return [memory, _ARM32] if level.arch == "armv7" else [memory]


def named_text(symbol: str, text: str) -> str:
    """An LLVM module with a read-only symbol: `text` in NAME_BYTES bytes, zeros behind it."""
    data = text.encode("ascii").ljust(NAME_BYTES, b"\0")
    escaped = "".join(f"\\{byte:02x}" for byte in data)
    return f'@{symbol} = constant [{NAME_BYTES} x i8] c"{escaped}"\n'
