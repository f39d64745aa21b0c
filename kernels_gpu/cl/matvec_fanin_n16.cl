// Rows of floats times weights of constant fan-in (docs/format.md, F53): y = scale * the sum of data * x[index] + bias +
// residual, one sum per output, its weights in their order. A work-item has a column and ROWS rows.
KERNEL(matvec_fanin_n16) {
    OPERANDS
    const int column = get_global_id(0), first = ROWS * (int)get_global_id(1), rows = present_rows(rows_at, p.rows);
    if (column >= p.columns || first >= rows) return;
    const long line = 16L * p.kept * (column / 16) + column % 16;
    const __global ushort *const places = CU16(index) + line;
    const __global char *const data = CI8(w) + line;
    const __global float *at[ROWS];
    float acc[ROWS];
    for (int r = 0; r < ROWS; r++) {
        at[r] = CF32(x) + (long)min(first + r, rows - 1) * p.depth;
        acc[r] = 0.0f;
    }
    for (int i = 0; i < p.kept; i++) {
        const int place = places[16 * i];
        const float number = (float)data[16 * i];
        for (int r = 0; r < ROWS; r++) acc[r] = FMA(number, at[r][place], acc[r]);
    }
    const float factor = CF32(scale)[column];
    for (int r = 0; r < ROWS; r++)
        if (first + r < rows) store_output(factor * acc[r], first + r, column, p, bias, residual, y);
}
