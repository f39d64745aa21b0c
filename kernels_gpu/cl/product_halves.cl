// Rows of floats times float16 weights: one sum per output, k ascending, acc = fma(x, w, acc): the CPU's bits.
// Dense, in lines of 16 columns (n16k1), or with BITMAP in blocks of 16 columns x 64 k, a mask of 16 bits for each k and
// then the halves that are kept (docs/format.md, F48). A work-item has a column and ROWS rows. With HALF_MATH products are
// made and up to 16 of them added as halves, then to the sums.
#define LINES 64
#define HEADER 128
#if HALF_MATH
typedef half term_t;
#define WEIGHT(x, i) ((__global const half *)(x))[i]
// Before the products of k, and after those of the last one: what halves have goes to the sums.
#define COLLECT(k)                           \
    if ((k) % 16 == 0)                       \
        for (int r = 0; r < ROWS; r++) {     \
            acc[r] += (float)part[r];        \
            part[r] = 0.0h;                  \
        }
#else
typedef float term_t;
#define WEIGHT(x, i) LOAD_HALF(x, i)
#define COLLECT(k)
#define part acc
#endif

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
#if HALF_MATH
    half part[ROWS];
    for (int r = 0; r < ROWS; r++) part[r] = 0.0h;
#endif
#if BITMAP
    const __global uchar *from = w + 8L * CU32(start)[unit];
    const uint below = (1u << lane) - 1u;
    for (int block = 0; block < depth; block += LINES) {
        int kept = 0;
        for (int i = 0; i < LINES; i++) {
            const uint mask = CU16(from)[i];
            const term_t number =
                mask >> lane & 1u ? WEIGHT(from + HEADER, kept + (int)popcount(mask & below)) : (term_t)0;
            kept += (int)popcount(mask);
            COLLECT(i)
            if (block + i < depth)
                for (int r = 0; r < ROWS; r++) part[r] = FMA((term_t)at[r][block + i], number, part[r]);
        }
        from += HEADER + (2 * kept + 7 & ~7);
    }
#else
    const __global uchar *from = w + 32L * unit * depth;
    for (int k = 0; k < depth; k++, from += 32) {
        const term_t number = WEIGHT(from, lane);
        COLLECT(k)
        for (int r = 0; r < ROWS; r++) part[r] = FMA((term_t)at[r][k], number, part[r]);
    }
#endif
    COLLECT(0)
    if (column >= p.columns) return;
    for (int r = 0; r < ROWS; r++)
        if (first + r < rows) store_output(acc[r], first + r, column, p, bias, residual, y);
}
