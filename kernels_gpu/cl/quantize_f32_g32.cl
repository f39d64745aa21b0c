// Rows of floats to g32, or to g32x2: a row of g32, and behind it the g32 of what that left over.
// A work-item has four values, a group of 64 of them eight groups of 32. What depends on where an item is comes after
// the last barrier: between two of them PoCL 3.1 mixed up groups that ran at the same time.
KERNEL(quantize_f32_g32) {
    OPERANDS
    __local uint room[64];
    const int item = get_local_id(0), group = (int)get_global_id(0) / 8, row = get_global_id(1);
    const int rows = present_rows(rows_at, p.rows), at = 4 * (int)get_global_id(0);
    const float4 v = load_first4(CF32(x + (long)row * p.x_row), at, row < rows ? p.count : 0);
    __global uchar *const to = y + (long)row * p.y_row;
    const quantized_t made = quantize_four(v, item, room);
#if TERMS == 2
    const float4 left = v - convert_float4(made.values) * made.scale;
    const int4 there = (int4)(at, at + 1, at + 2, at + 3) < (int4)(p.count);
    __local uint more[64];
    const quantized_t rest = quantize_four(select((float4)(0.0f), left, there), item, more);
#endif
    if (row >= rows) return;
    store_quantized(made, item, group, p.blocks, to);
#if TERMS == 2
    store_quantized(rest, item, group, p.blocks, to + 80 * p.blocks);
#endif
}
