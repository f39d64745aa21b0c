// Weights in groups of 32 k (docs/format.md, F40): blocks of 16 rows x 64 k, lines of 16 rows x 4 k, then scales.
// Constants: NIBBLES, ZERO (taken off every number), MINIMA. A lane is one of the 16 rows, a side one of two groups.
#define LINES (NIBBLES ? 4 : 8)
#define FACTORS (128 * LINES)
#define BLOCK (FACTORS + (MINIMA ? 128 : 64))

typedef struct {
    uint quads[8];
    float scale, minimum;
} group_t;

static inline void load_group(__global const uchar *w, int lane, int side, group_t *g) {
    const __global uint *const lines = CU32(w + side * LINES * 64) + lane;
#if NIBBLES
    for (int j = 0; j < 4; j++) {
        g->quads[j] = lines[16 * j] & 0x0f0f0f0fu;
        g->quads[4 + j] = lines[16 * j] >> 4 & 0x0f0f0f0fu;
    }
#else
    for (int j = 0; j < 8; j++) g->quads[j] = lines[16 * j];
#endif
    g->scale = LOAD_HALF(w + FACTORS + 32 * side, lane);
    g->minimum = MINIMA ? LOAD_HALF(w + FACTORS + 64 + 32 * side, lane) : 0.0f;
}
