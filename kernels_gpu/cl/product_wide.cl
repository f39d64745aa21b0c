// product_groups.cl for devices that compute vectors: a work-item has the 16 columns of a block and ROWS rows. Dots of a
// group are exact in floats as well, being less than 2**24, so the bits are the same.
#if WIDE
KERNEL(product_groups) {
    OPERANDS
    const int unit = get_global_id(0), first = ROWS * (int)get_global_id(1), rows = present_rows(rows_at, p.rows);
    if (16 * unit >= p.columns || first >= rows) return;
    const long stride = 80L * TERMS * BLOCKS;
    const __global uchar *from = FIRST_BLOCK(unit);
    float16 acc[ROWS];
    for (int r = 0; r < ROWS; r++) acc[r] = (float16)(0.0f);
    for (int i = 0; i < BLOCKS; i++, from += BLOCK) {
        for (int step = 0; step < STEPS; step++) {
            const int side = step & 1, term = 80 * (step >> 1) * BLOCKS, group = 2 * i + side;
            const __global uint *const lines = CU32(from + side * LINES * 64);
            float values[ROWS][32];
            float16 dot[ROWS];
            for (int r = 0; r < ROWS; r++) {
                const __global char *const q = CI8(x + min(first + r, rows - 1) * stride + term + 32 * group);
                vstore16(convert_float16(vload16(0, q)), 0, values[r]);
                vstore16(convert_float16(vload16(1, q)), 1, values[r]);
                dot[r] = (float16)(0.0f);
            }
            for (int j = 0; j < LINES; j++) {
                const uint16 words = vload16(j, lines);
                for (int b = 0; b < 4; b++) {
#if NIBBLES
                    const float16 low = convert_float16(as_int16(words >> (uint)(8 * b) & 15u));
                    const float16 high = convert_float16(as_int16(words >> (uint)(8 * b + 4) & 15u));
                    for (int r = 0; r < ROWS; r++) {
                        dot[r] = FMA(low, (float16)(values[r][4 * j + b]), dot[r]);
                        dot[r] = FMA(high, (float16)(values[r][16 + 4 * j + b]), dot[r]);
                    }
#else
                    const float16 number = convert_float16(as_int16(words << (uint)(24 - 8 * b)) >> 24);
                    for (int r = 0; r < ROWS; r++) dot[r] = FMA(number, (float16)(values[r][4 * j + b]), dot[r]);
#endif
                }
            }
            const float16 scales = LOAD_HALF16(from + FACTORS + 32 * side, 0);
            for (int r = 0; r < ROWS; r++) {
                const __global uchar *const row = x + min(first + r, rows - 1) * stride + term;
                const float scale = CF32(row + 64 * BLOCKS)[group], sum = (float)CI32(row + 72 * BLOCKS)[group];
                acc[r] = FMA(dot[r] - ZERO * sum, scales * scale, acc[r]);
#if MINIMA
                acc[r] = FMA((float16)(scale * sum), LOAD_HALF16(from + FACTORS + 64 + 32 * side, 0), acc[r]);
#endif
            }
        }
    }
    for (int r = 0; r < ROWS; r++) {
        float sums[16];
        vstore16(acc[r], 0, sums);
        for (int lane = 0; lane < 16; lane++)
            if (first + r < rows && 16 * unit + lane < p.columns)
                store_output(sums[lane], first + r, 16 * unit + lane, p, bias, residual, y);
    }
}
#endif
