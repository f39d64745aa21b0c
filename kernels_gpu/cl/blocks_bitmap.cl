// Blocks of bitmap8 and bitmap4, also of nm8 and nm4 (docs/format.md, F48): 16 masks of 64 bits, bit 4r + b of mask s
// for row r and k = 4s + b; scales; then the numbers that are kept. What is not kept is ZERO.
#define BLOCK_ROWS 16
#define FIRST_BLOCK(unit) (w + 8L * CU32(start)[unit])
#define MASKS_OF(unit) 0
#define SCALES 128
#define HEADER 192
#define MASK_WORDS 32

static inline int block_bytes(__global const uchar *at) {
    int kept = 0;
    for (int i = 0; i < MASK_WORDS; i++) kept += (int)popcount(CU32(at)[i]);
    return HEADER + (NIBBLES ? (kept + 15 & ~15) / 2 : (kept + 7 & ~7));
}

// The four numbers that `bits` tells of, the first of them number `rank` of those at `kept`.
static inline uint expanded(__global const uchar *kept, int rank, uint bits) {
    uint packed = as_uint(vload4(0, kept + (NIBBLES ? rank / 2 : rank))), word = 0;
    if (NIBBLES) packed >>= 4 * (rank & 1);
    for (int b = 0; b < 4; b++) {
        const int there = bits >> b & 1u;
        word |= (there ? packed & (NIBBLES ? 15u : 255u) : (uint)ZERO) << 8 * b;
        packed >>= there ? (NIBBLES ? 4 : 8) : 0;
    }
    return word;
}

static inline void load_block(__global const uchar *at, __global const uchar *masks, int lane, group_t *g) {
    const int from = 4 * (lane & 7);
    int rank = 0;
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < 8; i++) {
            const uint low = CU32(at)[16 * side + 2 * i], high = CU32(at)[16 * side + 2 * i + 1];
            const uint own = lane < 8 ? low : high;
            const int before = (int)popcount(own & ((1u << from) - 1u)) + (lane < 8 ? 0 : (int)popcount(low));
            g[side].quads[i] = expanded(at + HEADER, rank + before, own >> from & 15u);
            rank += (int)(popcount(low) + popcount(high));
        }
        g[side].scale = LOAD_HALF(at + SCALES + 32 * side, lane);
        g[side].minimum = 0.0f;
    }
}
