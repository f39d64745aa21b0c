// Rows of g32 times weights in groups: groups ascending, acc = fma(dot, w_scale * x_scale, acc) with exact integer
// dots, and acc = fma(x_scale * sum, minimum, acc) where there are minima: the order and the bits of the CPU.
// A work-item has a column and ROWS rows. SLICES > 1: so many of them share a column, each with its blocks of a round;
// dots and factors meet in local memory, where they are added in order, so the bits do not depend on SLICES.
// SHARED: so many of them have other rows of a column; each unpacks a block of a round into local memory, where all take
// it. WIDE: product_wide.cl has the kernel. How blocks lie and what a lane has of one is in blocks_*.cl.
#if !WIDE
static inline int dot_group(const group_t *g, __global const uchar *x, int sum) {
    const uint8 q = vload8(0, CU32(x));
    int dot = ZERO ? -ZERO * sum : 0;
    dot = dot4_ss(q.s0, g->quads[0], dot);
    dot = dot4_ss(q.s1, g->quads[1], dot);
    dot = dot4_ss(q.s2, g->quads[2], dot);
    dot = dot4_ss(q.s3, g->quads[3], dot);
    dot = dot4_ss(q.s4, g->quads[4], dot);
    dot = dot4_ss(q.s5, g->quads[5], dot);
    dot = dot4_ss(q.s6, g->quads[6], dot);
    return dot4_ss(q.s7, g->quads[7], dot);
}
#endif

#if WIDE
#elif SHARED
KERNEL(product_groups) {
    OPERANDS
    __local group_t unpacked[SHARED][2][BLOCK_ROWS];
    const int lane = get_local_id(0), part = get_local_id(1), column = get_global_id(0), unit = get_group_id(0);
    const int first = ROWS * (int)get_global_id(1), rows = present_rows(rows_at, p.rows);
    const int blocks = ROWS * SHARED * (int)get_group_id(1) < rows ? BLOCKS : 0;
    const long stride = 80L * TERMS * BLOCKS;
    const __global uchar *from = FIRST_BLOCK(unit), *const masks = MASKS_OF(unit);
    const __global uchar *at[ROWS];
    float acc[ROWS];
    for (int r = 0; r < ROWS; r++) {
        at[r] = x + max(0, min(first + r, rows - 1)) * stride;
        acc[r] = 0.0f;
    }
    for (int round = 0; round < blocks; round += SHARED) {
        const int count = min(SHARED, blocks - round);
        group_t g[2];
        for (int i = 0; i < count; i++) {
            if (i == part) load_block(from, masks + 8L * (round + i), lane, g);
            from += block_bytes(from);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (part < count) {
            unpacked[part][0][lane] = g[0];
            unpacked[part][1][lane] = g[1];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = 0; i < count; i++) {
            for (int step = 0; step < STEPS; step++) {
                const int side = step & 1, term = 80 * (step >> 1) * BLOCKS, group = 2 * (round + i) + side;
                const group_t own = unpacked[i][side][lane];
                for (int r = 0; r < ROWS; r++) {
                    const __global uchar *const row = at[r] + term;
                    const float scale = CF32(row + 64 * BLOCKS)[group];
                    const int sum = CI32(row + 72 * BLOCKS)[group];
                    const float dot = (float)dot_group(&own, row + 32 * group, sum);
                    acc[r] = FMA(dot, own.scale * scale, acc[r]);
                    if (MINIMA) acc[r] = FMA(scale * (float)sum, own.minimum, acc[r]);
                }
            }
        }
    }
    if (column >= p.columns) return;
    for (int r = 0; r < ROWS; r++)
        if (first + r < rows) store_output(acc[r], first + r, column, p, bias, residual, y);
}
#elif SLICES == 1
KERNEL(product_groups) {
    OPERANDS
    const int column = get_global_id(0), unit = column / BLOCK_ROWS, lane = column % BLOCK_ROWS;
    const int first = ROWS * (int)get_global_id(1), rows = present_rows(rows_at, p.rows);
    if (column - lane >= p.columns || first >= rows) return;
    const long stride = 80L * TERMS * BLOCKS;
    const __global uchar *from = FIRST_BLOCK(unit), *masks = MASKS_OF(unit);
    const __global uchar *at[ROWS];
    float acc[ROWS];
    for (int r = 0; r < ROWS; r++) {
        at[r] = x + min(first + r, rows - 1) * stride;
        acc[r] = 0.0f;
    }
    for (int i = 0; i < BLOCKS; i++) {
        group_t g[2];
        load_block(from, masks, lane, g);
        from += block_bytes(from);
        masks += 8;
        for (int step = 0; step < STEPS; step++) {
            const int side = step & 1, term = 80 * (step >> 1) * BLOCKS, group = 2 * i + side;
            for (int r = 0; r < ROWS; r++) {
                const __global uchar *const row = at[r] + term;
                const float scale = CF32(row + 64 * BLOCKS)[group];
                const int sum = CI32(row + 72 * BLOCKS)[group];
                const float dot = (float)dot_group(&g[side], row + 32 * group, sum);
                acc[r] = FMA(dot, g[side].scale * scale, acc[r]);
                if (MINIMA) acc[r] = FMA(scale * (float)sum, g[side].minimum, acc[r]);
            }
        }
    }
    if (column >= p.columns) return;
    for (int r = 0; r < ROWS; r++)
        if (first + r < rows) store_output(acc[r], first + r, column, p, bias, residual, y);
}
#else
#define OWN ((ROWS + SLICES - 1) / SLICES)

KERNEL(product_groups) {
    OPERANDS
    // Two rounds' worth: one is added while the next is made.
    __local float dots[2][SLICES * STEPS][ROWS][16], factors[2][SLICES * STEPS][ROWS][16];
#if MINIMA
    __local float offsets[2][SLICES * STEPS][ROWS][16], minima[2][SLICES * STEPS][16];
#endif
    const int lane = get_local_id(0), slice = get_local_id(1), column = get_global_id(0);
    const int unit = column / BLOCK_ROWS, first = ROWS * (int)get_group_id(2);
    const int rows = present_rows(rows_at, p.rows), rounds = first < rows ? divide_up(BLOCKS, SLICES) : 0;
    const long stride = 80L * TERMS * BLOCKS;
    float acc[OWN];
    for (int r = 0; r < OWN; r++) acc[r] = 0.0f;
    const __global uchar *from = FIRST_BLOCK(unit), *const masks = MASKS_OF(unit);
    int at = 0;
    for (int round = 0; round < rounds; round++) {
        const int block = round * SLICES + slice, half_of = round & 1;
        if (block < BLOCKS) {
            for (; at < block; at++) from += block_bytes(from);
            group_t g[2];
            load_block(from, masks + 8L * block, column % BLOCK_ROWS, g);
            for (int step = 0; step < STEPS; step++) {
                const int side = step & 1, term = 80 * (step >> 1) * BLOCKS, group = 2 * block + side;
                const int part = slice * STEPS + step;
                for (int r = 0; r < ROWS; r++) {
                    const __global uchar *const row = x + min(first + r, rows - 1) * stride + term;
                    const float scale = CF32(row + 64 * BLOCKS)[group];
                    const int sum = CI32(row + 72 * BLOCKS)[group];
                    dots[half_of][part][r][lane] = (float)dot_group(&g[side], row + 32 * group, sum);
                    factors[half_of][part][r][lane] = g[side].scale * scale;
#if MINIMA
                    offsets[half_of][part][r][lane] = scale * (float)sum;
#endif
                }
#if MINIMA
                minima[half_of][part][lane] = g[side].minimum;
#endif
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        const int parts = STEPS * min(SLICES, BLOCKS - round * SLICES);
        for (int own = 0; own < OWN; own++) {
            const int r = slice + own * SLICES;
            if (r >= ROWS) break;
            for (int part = 0; part < parts; part++) {
                acc[own] = FMA(dots[half_of][part][r][lane], factors[half_of][part][r][lane], acc[own]);
#if MINIMA
                acc[own] = FMA(offsets[half_of][part][r][lane], minima[half_of][part][lane], acc[own]);
#endif
            }
        }
    }
    for (int own = 0; own < OWN; own++) {
        const int r = slice + own * SLICES;
        if (r < ROWS && first + r < rows && column < p.columns)
            store_output(acc[own], first + r, column, p, bias, residual, y);
    }
}
#endif
