// y = clamp(x w + bias + residual) of floats, w in lines of 16 columns. A work-item is ROWS rows x WIDE columns; SPLIT
// of them, dimension 1 of the group, share the steps of a sum. LINES is the group's dimension 0.
VECTOR_KERNEL(gemm_f32_n16k1) {
    OPERANDS
    const int column = WIDE * (int)get_global_id(0), row = ROWS * (int)get_group_id(1), matrix = get_global_id(2);
    const int part = get_local_id(1), rows = present_rows(rows_at, p.rows);
    const bool exists = column < p.columns && row < rows;
    vec_t sum[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) sum[r] = (vec_t)(0.0f);
    if (exists) {
        const __global uchar *const lines =
            w + (long)matrix * p.w_batch + (long)(column / 16) * p.w_block + 4 * (column % 16);
        const __global float *from[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            from[r] = CF32(x + (long)matrix * p.x_batch + (long)min(row + r, rows - 1) * p.x_row);
            if (part == 0) sum[r] = LOAD_VEC(CF32(bias) + column);
        }
        int k = part;
        while (k < p.steps) {
            const int stop = k + min(SPLIT * STRETCH, p.steps - k);
#if HALF_MATH
            term_t some[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++) some[r] = (term_t)(0.0h);
#else
#define some sum
#endif
            for (; k < stop; k += SPLIT) {
                const term_t line = TERMS(LOAD_VEC(CF32(lines + (long)k * p.w_step)));
#pragma unroll
                for (int r = 0; r < ROWS; r++) ADD_TERM(some[r], line, (one_t)from[r][k]);
            }
#if HALF_MATH
#pragma unroll
            for (int r = 0; r < ROWS; r++) sum[r] += SUM_OF(some[r]);
#endif
        }
    }
#if SPLIT > 1
    __local vec_t parts[SPLIT * LINES * ROWS];
    __local vec_t *const mine = parts + (part * LINES + (int)get_local_id(0)) * ROWS;
#pragma unroll
    for (int r = 0; r < ROWS; r++) mine[r] = sum[r];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (part > 0) return;
    for (int other = 1; other < SPLIT; other++) {
#pragma unroll
        for (int r = 0; r < ROWS; r++) sum[r] += mine[other * LINES * ROWS + r];
    }
#endif
    if (!exists) return;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        if (row + r >= rows) break;
        const long at = (long)matrix * p.y_batch + (long)(row + r) * p.y_row + 4 * column;
        const int left = p.columns - column;
        if (residual) sum[r] += load_first(CF32(residual + at), left);
        store_first(bounded(sum[r], p.low, p.high), F32(y + at), left);
    }
}
