// Rows of a table with weights in groups, by their numbers, as floats: scale * (number - zero) + minimum, each step
// rounded. A work-item makes four values. Source: ONNX Gather along axis 0.
KERNEL(gather_groups) {
    OPERANDS
    const int at = 4 * (int)get_global_id(0), i = get_global_id(1);
    if (at >= p.columns || i >= present_rows(rows_at, p.rows)) return;
    const int number = row_number(indices, i, p.wide, p.table), lane = number & 15, side = at / 32 & 1;
    const __global uchar *const w = x + ((long)(number / 16) * divide_up(p.columns, 64) + at / 64) * BLOCK;
    const int quad = at / 4 & 7;
    const uint word = CU32(w + (side * LINES + quad % LINES) * 64)[lane];
    const uint numbers = NIBBLES ? (quad < 4 ? word : word >> 4) & 0x0f0f0f0fu : word;
    float4 v = convert_float4(signed4(numbers) - ZERO) * LOAD_HALF(w + FACTORS + 32 * side, lane);
    if (MINIMA) v += LOAD_HALF(w + FACTORS + 64 + 32 * side, lane);
    __global float *const to = F32(y) + (long)i * p.columns + at;
    if (at + 4 <= p.columns) vstore4(v, 0, to);
    else {
        to[0] = v.x;
        if (at + 1 < p.columns) to[1] = v.y;
        if (at + 2 < p.columns) to[2] = v.z;
    }
}
