// Listed neurons: the gate's value times the product of rows of g32 with the up row, h = a * (x . up); 0 where a is. 16
// work-items, dimension 0 of the group, share a neuron: lane 4 j + l has word j of both halves of group l, and the sums
// are folded by halves: the CPU's order.
KERNEL(neurons_up) {
    OPERANDS
    __local float sums[NEURONS][ROWS][16];
    const int lane = get_local_id(0), own = get_local_id(1), number = get_global_id(1);
    const int rows = present_rows(rows_at, p.rows), first = ROWS * (int)get_global_id(2);
    const int group = lane & 3, j = lane >> 2, exists = first < rows && number < CI32(listed)[0];
    const int size = p.depth + (p.depth >> 2);
    float acc[ROWS];
    for (int r = 0; r < ROWS; r++) acc[r] = 0.0f;
    if (exists) {
        const __global uchar *const from = data + (long)CI32(slots)[number] * p.neuron;
        const __global uchar *const scales = from + 2 * BLOCK * p.blocks;
        for (int block = 0; block < p.blocks; block++) {
            const int at = 4 * block + group;
            if (32 * at >= p.depth) break;  // groups of the last block that x does not have
            const __global uint *const line = CU32(from + BLOCK * block) + lane;
#if BITS == 4
            const uint low = line[0] & 0x0f0f0f0fu, high = line[0] >> 4 & 0x0f0f0f0fu;
#else
            const uint low = line[0], high = line[16];
#endif
            const float scale = LOAD_HALF(scales, at);
            for (int r = 0; r < ROWS; r++) {
                const __global uchar *row = x + (long)min(first + r, rows - 1) * p.terms * size;
                for (int term = 0; term < p.terms; term++, row += size) {
                    const uint a = CU32(row)[8 * at + j], b = CU32(row)[8 * at + 4 + j];
                    int dot = dot4_ss(a, low, dot4_ss(b, high, 0));
                    if (ZERO) dot -= ZERO * dot4_ss(a, 0x01010101u, dot4_ss(b, 0x01010101u, 0));
                    acc[r] = FMA((float)dot, scale * CF32(row + p.depth)[at], acc[r]);
                }
            }
        }
    }
    for (int r = 0; r < ROWS; r++) sums[own][r][lane] = acc[r];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_of = 8; half_of > 0; half_of /= 2) {
        if (lane < half_of)
            for (int r = 0; r < ROWS; r++) sums[own][r][lane] += sums[own][r][lane + half_of];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (!exists || lane > 0) return;
    const int place = CI32(listed)[LISTED + number];
    for (int r = 0; r < ROWS; r++) {
        if (first + r >= rows) break;
        const float a = CF32(gate)[(long)(first + r) * p.width + place];
        F32(h)[(long)(first + r) * p.width + number] = a == 0.0f ? 0.0f : a * sums[own][r][0];
    }
}
