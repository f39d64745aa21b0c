// Bytes times int8 weights in lines of 16 columns x 4 k. A work-item is one column of ROWS rows; sixteen of them read
// a line of weights.
KERNEL(gemm_q8_n16k4) {
    OPERANDS
    const int column = get_global_id(0), first = ROWS * (int)get_global_id(1);
    if (column >= p.columns || first >= p.rows) return;
    const uint flip = (uint)(p.x_flip & 255) * 0x01010101u;
    const __global uint *const weights = CU32(w) + (long)(column >> 4) * 16 * p.steps + (column & 15);
    const __global uchar *from[ROWS];
    int sums[ROWS];
    for (int r = 0; r < ROWS; r++) {
        from[r] = x + (long)min(first + r, p.rows - 1) * p.x_row;  // the last one may be computed twice
        sums[r] = CI32(bias)[column];
    }
    for (int k = 0; k < p.steps; k++) {
        const uint by = weights[16 * k];
        for (int r = 0; r < ROWS; r++)
            sums[r] = dot4(as_uint(vload4(0, from[r] + (long)k * p.x_step)) ^ flip, by, sums[r]);
    }
    const float ratio = CF32(scale)[column];
    for (int r = 0; r < ROWS && first + r < p.rows; r++) {
        const int q = requantize(convert_float(sums[r]) * ratio, p.zero_point, p.low, p.high);
        y[(long)(first + r) * p.y_row + column] = (uchar)(q ^ p.y_flip);
    }
}
