// Rows of floats times float16 weights: one sum per output, k ascending, acc = fma(x, w, acc): the CPU's bits.
// Dense, in lines of 16 columns (n16k1), or with BITMAP in blocks of 16 columns x 64 k, a mask of 16 bits for each k and
// then the halves that are kept (docs/format.md, F48). A work-item has a column and ROWS rows.
#define LINES 64
#define HEADER 128

KERNEL(product_halves) {
    OPERANDS
    const int column = get_global_id(0), unit = column / 16, lane = column % 16;
    const int first = ROWS * (int)get_global_id(1), rows = present_rows(rows_at, p.rows);
    if (column - lane >= p.columns || first >= rows) return;
#if MANY && !BITMAP
    const int depth = p.units;
#else
    const int depth = p.depth;
#endif
    const __global float *at[ROWS];
    float acc[ROWS];
    for (int r = 0; r < ROWS; r++) {
        at[r] = CF32(x) + (long)min(first + r, rows - 1) * depth;
        acc[r] = 0.0f;
    }
#if BITMAP
    const __global uchar *from = w + 8L * CU32(start)[unit];
    const uint below = (1u << lane) - 1u;
    for (int block = 0; block < depth; block += LINES) {
        int kept = 0;
        for (int i = 0; i < LINES; i++) {
            const uint mask = CU16(from)[i];
            const float number =
                mask >> lane & 1u ? LOAD_HALF(from + HEADER, kept + (int)popcount(mask & below)) : 0.0f;
            kept += (int)popcount(mask);
            if (block + i < depth)
                for (int r = 0; r < ROWS; r++) acc[r] = FMA(at[r][block + i], number, acc[r]);
        }
        from += HEADER + (2 * kept + 7 & ~7);
    }
#else
    const __global uchar *from = w + 32L * unit * depth;
    for (int k = 0; k < depth; k++, from += 32) {
        const float number = LOAD_HALF(from, lane);
        for (int r = 0; r < ROWS; r++) acc[r] = FMA(at[r][k], number, acc[r]);
    }
#endif
    if (column >= p.columns) return;
    for (int r = 0; r < ROWS; r++)
        if (first + r < rows) store_output(acc[r], first + r, column, p, bias, residual, y);
}
