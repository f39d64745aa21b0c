// Rows of a table of halves or floats (in rows or in lines of 16), or of int8 with a scale each, by their numbers, as
// floats. A work-item makes one value. Source: ONNX Gather along axis 0.
KERNEL(gather_table) {
    OPERANDS
    const int k = get_global_id(0), i = get_global_id(1);
    if (k >= p.columns || i >= present_rows(rows_at, p.rows)) return;
    const int number = row_number(indices, i, p.wide, p.table);
    __global float *const to = F32(y) + (long)i * p.columns + k;
#if NUMBERS == 8
    *to = (float)I8(x)[(long)number * p.columns + k] * CF32(scale)[number];
#else
    const __global uchar *const at = x + (long)(number / 16) * p.block + (number & 15) * p.lane + (long)k * p.step;
    *to = NUMBERS == 16 ? LOAD_HALF(at, 0) : *CF32(at);
#endif
}
