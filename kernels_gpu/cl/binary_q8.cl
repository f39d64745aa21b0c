// QLinearAdd, QLinearMul and fixed-point sums of activation bytes as they lie. A work-item is four bytes of a row; the
// last one of a row writes what is left. Bytes of rows come and go with `flip` where the host sees them.
#define MUL 1
#define FIXED 2
#define FIXED_SHIFT 12

KERNEL(binary_q8) {
    OPERANDS
    const int at = 4 * (int)get_global_id(0), row = get_global_id(1);
    if (at >= p.row_bytes || row >= p.rows) return;
    const uint flip = (uint)(p.flip & 255) * 0x01010101u;
    const __global uchar *const from = a + (long)row * p.a_row + at;
    const __global uchar *const with = b + (long)(row % p.b_rows) * p.b_row + (p.spread ? 0 : at);
    __global uchar *const to = y + (long)row * p.y_row + at;
    const int left = min(4, p.row_bytes - at);
    const int4 av = act4(as_uint(vload4(0, from)) ^ flip), bv = act4(as_uint(vload4(0, with)) ^ flip);
    const int4 an = av - p.a_zero, bn = bv - p.b_zero;
    float4 value;
    if (p.op == MUL) {
        value = convert_float4(an * bn) * p.a_ratio;
    } else if (p.op == FIXED) {
        const int4 total = an * p.a_multiplier + bn * p.b_multiplier + p.rounding;
        value = convert_float4(total >> FIXED_SHIFT) * p.a_ratio + p.b_ratio;
    } else {
        value = convert_float4(an) * p.a_ratio + convert_float4(bn) * p.b_ratio;
    }
    const uchar4 out = as_uchar4(pack4(requantize4(value, p.zero_point, p.low, p.high)) ^ flip);
    if (left == 4) vstore4(out, 0, to);
    else {
        to[0] = out.x;
        if (left > 1) to[1] = out.y;
        if (left > 2) to[2] = out.z;
    }
}
