// Blocks of rowgroup4 (docs/format.md, F52): of 16 rows those that the masks of both groups name, packed. A row that a
// group does not have meets it with the scale 0, as zeros would.
#define BLOCK_ROWS 16
#define FIRST_BLOCK(unit) (w + 8L * CU32(start)[unit])
#define MASKS_OF(unit) 0
#define HEADER 8

static inline int block_bytes(__global const uchar *at) {
    const int kept = (int)(popcount((uint)CU16(at)[0]) + popcount((uint)CU16(at)[1]));
    return HEADER + (18 * kept + 7 & ~7);
}

static inline void load_block(__global const uchar *at, __global const uchar *masks, int lane, group_t *g) {
    const uint rows0 = CU16(at)[0], rows1 = CU16(at)[1];
    const int kept0 = (int)popcount(rows0), kept1 = (int)popcount(rows1);
    for (int side = 0; side < 2; side++) {
        const uint rows = side ? rows1 : rows0;
        const int kept = side ? kept1 : kept0, place = (int)popcount(rows & ((1u << lane) - 1u));
        const int there = rows >> lane & 1u, own = there ? place : 0;
        const __global uint *const lines = CU32(at + HEADER + (side ? 16 * kept0 : 0)) + own;
        for (int j = 0; j < 4; j++) {
            const uint word = there ? lines[kept * j] : 0u;
            g[side].quads[j] = word & 0x0f0f0f0fu;
            g[side].quads[4 + j] = word >> 4 & 0x0f0f0f0fu;
        }
        g[side].scale = there ? LOAD_HALF(at + HEADER + 16 * (kept0 + kept1), (side ? kept0 : 0) + own) : 0.0f;
        g[side].minimum = 0.0f;
    }
}
