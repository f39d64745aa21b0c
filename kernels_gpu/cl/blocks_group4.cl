// Blocks of group4 (docs/format.md, F51): of 32 rows the 16 that a mask names, packed as a block of q4. A row that a
// group does not have meets it with the scale 0, as zeros would.
#define BLOCK_ROWS 32
#define FIRST_BLOCK(unit) (w + (long)(unit) * BLOCKS * BLOCK)
#define MASKS_OF(unit) (mask + 8L * (unit) * BLOCKS)

static inline int block_bytes(__global const uchar *at) { return BLOCK; }

static inline void load_block(__global const uchar *at, __global const uchar *masks, int lane, group_t *g) {
    for (int side = 0; side < 2; side++) {
        const uint rows = CU32(masks)[side];
        const int place = (int)popcount(rows & ((1u << lane) - 1u));
        load_group(at, min(place, 15), side, &g[side]);
        if (!(rows >> lane & 1u)) g[side].scale = 0.0f;
    }
}
