// Blocks of weights in groups, all of one size: a row of 16 after the other (groups.cl).
#define BLOCK_ROWS 16
#define FIRST_BLOCK(unit) (w + (long)(unit) * BLOCKS * BLOCK)
#define MASKS_OF(unit) 0

static inline int block_bytes(__global const uchar *at) { return BLOCK; }

static inline void load_block(__global const uchar *at, __global const uchar *masks, int lane, group_t *g) {
    load_group(at, lane, 0, &g[0]);
    load_group(at, lane, 1, &g[1]);
}
