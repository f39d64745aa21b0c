// Listed neurons: y = residual + the sum of their down columns, each times its value in h. A work-item has a lane of a
// block: eight columns, 16 apart, of ROWS rows. SLICES of them, dimension 1 of the group, share the neurons.
KERNEL(neurons_down) {
    OPERANDS
    const int lane = get_local_id(0), slice = get_local_id(1), block = get_group_id(0);
    const int rows = present_rows(rows_at, p.rows), first = ROWS * (int)get_group_id(2);
    const int count = first < rows ? CI32(listed)[0] : 0;
    float acc[ROWS][8];
    for (int r = 0; r < ROWS; r++)
        for (int t = 0; t < 8; t++) acc[r][t] = 0.0f;
    for (int i = slice; i < count; i += SLICES) {
        const __global uchar *const neuron = data + (long)CI32(slots)[i] * p.neuron;
        const __global uint *const line = CU32(neuron + BLOCK * (p.blocks + block)) + lane;
        const __global uchar *const scales = neuron + 2 * BLOCK * p.blocks + 8 * (p.blocks + block);
        float scale[4], number[8];
        for (int g = 0; g < 4; g++) scale[g] = LOAD_HALF(scales, g);
#if BITS == 4
        for (int t = 0; t < 8; t++) number[t] = (float)((int)(line[0] >> 4 * t & 15u) - 8);
#else
        for (int t = 0; t < 8; t++) number[t] = (float)((int)(line[t < 4 ? 0 : 16] << 24 - 8 * (t & 3)) >> 24);
#endif
        for (int r = 0; r < ROWS; r++) {
            const float value = CF32(h)[(long)min(first + r, rows - 1) * p.width + i];
            for (int t = 0; t < 8; t++) acc[r][t] = FMA(value * scale[t / 2], number[t], acc[r][t]);
        }
    }
#if SLICES > 1
    __local float parts[SLICES][ROWS][8][16];
    for (int r = 0; r < ROWS; r++)
        for (int t = 0; t < 8; t++) parts[slice][r][t][lane] = acc[r][t];
    barrier(CLK_LOCAL_MEM_FENCE);
    if (slice > 0) return;
    for (int other = 1; other < SLICES; other++)
        for (int r = 0; r < ROWS; r++)
            for (int t = 0; t < 8; t++) acc[r][t] += parts[other][r][t][lane];
#endif
    for (int r = 0; r < ROWS; r++) {
        for (int t = 0; t < 8; t++) {
            const int column = 128 * block + 16 * t + lane;
            if (first + r >= rows || column >= p.columns) continue;
            const long at = (long)(first + r) * p.columns + column;
            F32(y)[at] = residual ? acc[r][t] + CF32(residual)[at] : acc[r][t];
        }
    }
}
