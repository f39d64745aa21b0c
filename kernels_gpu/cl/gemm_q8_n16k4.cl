// Bytes times int8 weights in lines of 16 columns x 4 k. A work-item is COLUMNS columns of a line by ROWS rows; those
// of a line read it together.
#if DOT_WORDS
#define DOT_LANE(lane, sums) dot4(x, w lane, sums lane)
static inline sums_t products(uint x, words_t w, sums_t sums) {
    EACH_LANE(sums, DOT_LANE)
    return sums;
}
#else
static inline sums_t products(uint x, words_t w, sums_t sums) {
    const int4 by = act4(x);
    sums += signed_byte(w, 0) * by.x + signed_byte(w, 1) * by.y;
    return sums + signed_byte(w, 2) * by.z + signed_byte(w, 3) * by.w;
}
#endif

KERNEL(gemm_q8_n16k4) {
    OPERANDS
    const int column = COLUMNS * (int)get_global_id(0), first = ROWS * (int)get_global_id(1);
    if (column >= p.columns || first >= p.rows) return;
    const uint flip = (uint)(p.x_flip & 255) * 0x01010101u;
    const __global uchar *const weights = w + 64 * ((long)(column >> 4) * p.steps) + 4 * (column & 15);
    const __global uchar *from[ROWS];
    sums_t sums[ROWS];
    for (int r = 0; r < ROWS; r++) {
        from[r] = x + (long)min(first + r, p.rows - 1) * p.x_row;  // the last one may be computed twice
        sums[r] = VECTOR(as_int)(LOAD_WORDS(bias + 4 * column));
    }
    for (int k = 0; k < p.steps; k++) {
        const words_t line = LOAD_WORDS(weights + 64L * k);
        for (int r = 0; r < ROWS; r++)
            sums[r] = products(as_uint(vload4(0, from[r] + (long)k * p.x_step)) ^ flip, line, sums[r]);
    }
    const floats_t ratio = VECTOR(as_float)(LOAD_WORDS(scale + 4 * column));
    for (int r = 0; r < ROWS && first + r < p.rows; r++) {
        const floats_t v = VECTOR(convert_float)(sums[r]) * ratio;
        const sums_t q = requantized(v, p.zero_point, p.low, p.high) ^ p.y_flip;
        __global uchar *const to = y + (long)(first + r) * p.y_row + column;
#if COLUMNS == 1
        *to = (uchar)q;
#else
        int each[COLUMNS];
        VECTOR(vstore)(q, 0, each);
        for (int i = 0; i < COLUMNS && column + i < p.columns; i++) to[i] = (uchar)each[i];
#endif
    }
}
