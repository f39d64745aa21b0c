// Tiles of the convolutions of bytes: PIXELS neighbouring pixels of k4p by four output channels, in vectors of one
// channel of all pixels (vectors_q8.cl).

// What a word of each pixel is to the products with it: itself where there is an instruction, else its four numbers.
#if DOT_WORDS
typedef struct { words_t word; } factors_t;
static inline factors_t factors_of(words_t x) {
    factors_t f = {x};
    return f;
}

#define DOT_LANE(lane, sums) dot4(f.word lane, w, sums lane)
static inline sums_t multiplied(factors_t f, uint w, sums_t sums) {
    EACH_LANE(sums, DOT_LANE)
    return sums;
}
#else
typedef struct { sums_t a, b, c, d; } factors_t;
static inline factors_t factors_of(words_t x) {
    factors_t f = {act_byte(x, 0), act_byte(x, 1), act_byte(x, 2), act_byte(x, 3)};
    return f;
}

static inline sums_t multiplied(factors_t f, uint w, sums_t sums) {
    const int4 by = signed4(w);
    return sums + f.a * by.x + f.b * by.y + f.c * by.z + f.d * by.w;
}
#endif

typedef struct { sums_t c[4]; } tile_t;

static inline tile_t tile_of(int4 bias) {
    tile_t t = {{(sums_t)(bias.x), (sums_t)(bias.y), (sums_t)(bias.z), (sums_t)(bias.w)}};
    return t;
}

// Four output channels, a word of weights each.
static inline tile_t tile_step(tile_t t, factors_t f, uint4 w) {
    t.c[0] = multiplied(f, w.x, t.c[0]);
    t.c[1] = multiplied(f, w.y, t.c[1]);
    t.c[2] = multiplied(f, w.z, t.c[2]);
    t.c[3] = multiplied(f, w.w, t.c[3]);
    return t;
}

// The first `left` pixels of `words`.
static inline void store_pixels(__global uchar *y, words_t words, int left) {
#if PIXELS == 1
    *U32(y) = words;
#else
    if (left >= PIXELS) {
        VECTOR(vstore)(words, 0, U32(y));
        return;
    }
    uint each[PIXELS];
    VECTOR(vstore)(words, 0, each);
    for (int i = 0; i < left; i++) U32(y)[i] = each[i];
#endif
}

// The same of what may lie in y: others are written meanwhile.
static inline words_t load_pixels(const __global uchar *x, int left) {
#if PIXELS > 1
    if (left < PIXELS) {
        uint each[PIXELS];
        for (int i = 0; i < PIXELS; i++) each[i] = CU32(x)[min(i, left - 1)];
        return VECTOR(vload)(0, each);
    }
#endif
    return LOAD_WORDS(x);
}

// Requantizes a tile, adds a residual (null if there is none) and stores `left` pixels at y.
static inline void tile_store(
    tile_t t, float4 scale, int zero_point, int low, int high, __global uchar *y, int left,
    const __global uchar *residual, int residual_zero, float residual_scale
) {
    floats_t v[4] = {
        VECTOR(convert_float)(t.c[0]) * scale.x, VECTOR(convert_float)(t.c[1]) * scale.y,
        VECTOR(convert_float)(t.c[2]) * scale.z, VECTOR(convert_float)(t.c[3]) * scale.w,
    };
    if (residual) {
        const words_t other = load_pixels(residual, left);
        for (int k = 0; k < 4; k++) {
            const sums_t number = act_byte(other, k) - residual_zero;
            v[k] += VECTOR(convert_float)(number) * residual_scale;
        }
    }
    words_t words = (words_t)(0);
    for (int k = 0; k < 4; k++) {
        const sums_t number = requantized(v[k], zero_point, low, high);
        words |= VECTOR(as_uint)(number & 255) << (uint)(8 * k);
    }
    store_pixels(y, words, left);
}
