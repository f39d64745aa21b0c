// The end of every product of rows with weights: y = clamp(sum + bias + residual), float32 [rows, columns].
// NaN passes the clamp. MANY: whether the record is that of a kernel for many rows.
#if MANY
#define BLOCKS p.units
#else
#define BLOCKS p.blocks
#endif
// Of a block of weights: its two groups against each term of a row.
#define STEPS (2 * TERMS)

static inline void store_output(float sum, int row, int column, params_t p, __global const uchar *bias,
                                __global const uchar *residual, __global uchar *y) {
    const long at = (long)row * p.columns + column;
    if (bias) sum += CF32(bias)[column];
    if (residual) sum += CF32(residual)[at];
    const float raised = p.low > sum ? p.low : sum;
    F32(y)[at] = p.high < raised ? p.high : raised;
}
