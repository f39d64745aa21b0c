// Tiles of the convolutions of bytes: PIXELS neighbouring pixels of k4p by four output channels. A vector holds one
// channel of all pixels, so that processors have vectors to multiply and GPUs read PIXELS words at once.
#if PIXELS == 1
#define VECTOR(type) type
#define TO_INTS convert_int_rte
#define LOAD_PIXELS(x) (*CU32(x))
#else
#define GLUE_(a, b, c) a##b##c
#define GLUE(a, b, c) GLUE_(a, b, c)
#define VECTOR(type) GLUE(type, PIXELS, )
#define TO_INTS GLUE(convert_int, PIXELS, _rte)
#define LOAD_PIXELS(x) VECTOR(vload)(0, CU32(x))
#endif
typedef VECTOR(int) sums_t;
typedef VECTOR(uint) pixels_t;
typedef VECTOR(float) floats_t;

// Channel k of every pixel, as numbers.
static inline sums_t channel_of(pixels_t x, int k) {
#if ACT_SIGNED
    return VECTOR(as_int)(x << (uint)(24 - 8 * k)) >> 24;
#else
    return VECTOR(as_int)((x >> (uint)(8 * k)) & 255u);
#endif
}

// What a word of each pixel is to the products with it: itself where there is an instruction, else its four numbers.
#if HAS_INTEGER_DOT
typedef struct { pixels_t word; } factors_t;
static inline factors_t factors_of(pixels_t x) {
    factors_t f = {x};
    return f;
}

static inline sums_t multiplied(factors_t f, uint w, sums_t sums) {
#if PIXELS == 1
    return dot4(f.word, w, sums);
#else
    sums.s0 = dot4(f.word.s0, w, sums.s0);
    sums.s1 = dot4(f.word.s1, w, sums.s1);
#if PIXELS >= 4
    sums.s2 = dot4(f.word.s2, w, sums.s2);
    sums.s3 = dot4(f.word.s3, w, sums.s3);
#endif
#if PIXELS >= 8
    sums.s4 = dot4(f.word.s4, w, sums.s4);
    sums.s5 = dot4(f.word.s5, w, sums.s5);
    sums.s6 = dot4(f.word.s6, w, sums.s6);
    sums.s7 = dot4(f.word.s7, w, sums.s7);
#endif
#if PIXELS == 16
    sums.s8 = dot4(f.word.s8, w, sums.s8);
    sums.s9 = dot4(f.word.s9, w, sums.s9);
    sums.sa = dot4(f.word.sa, w, sums.sa);
    sums.sb = dot4(f.word.sb, w, sums.sb);
    sums.sc = dot4(f.word.sc, w, sums.sc);
    sums.sd = dot4(f.word.sd, w, sums.sd);
    sums.se = dot4(f.word.se, w, sums.se);
    sums.sf = dot4(f.word.sf, w, sums.sf);
#endif
    return sums;
#endif
}
#else
typedef struct { sums_t a, b, c, d; } factors_t;
static inline factors_t factors_of(pixels_t x) {
    factors_t f = {channel_of(x, 0), channel_of(x, 1), channel_of(x, 2), channel_of(x, 3)};
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

// requantize of prelude.cl for channel k of every pixel, in its place in the words.
static inline pixels_t channel_bytes(floats_t v, int k, int zero_point, int low, int high) {
    const floats_t near = clamp(v, (floats_t)(-65536.0f), (floats_t)(65536.0f));
    const sums_t rounded = TO_INTS(near) + zero_point;
    const sums_t held = clamp(rounded, (sums_t)(ACT_LOW), (sums_t)(ACT_HIGH));
    return VECTOR(as_uint)(clamp(held, (sums_t)(low), (sums_t)(high)) & 255) << (uint)(8 * k);
}

// The first `left` pixels of `words`.
static inline void store_pixels(__global uchar *y, pixels_t words, int left) {
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
static inline pixels_t load_pixels(const __global uchar *x, int left) {
#if PIXELS > 1
    if (left < PIXELS) {
        uint each[PIXELS];
        for (int i = 0; i < PIXELS; i++) each[i] = CU32(x)[min(i, left - 1)];
        return VECTOR(vload)(0, each);
    }
#endif
    return LOAD_PIXELS(x);
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
        const pixels_t other = load_pixels(residual, left);
        for (int k = 0; k < 4; k++) {
            const sums_t number = channel_of(other, k) - residual_zero;
            v[k] += VECTOR(convert_float)(number) * residual_scale;
        }
    }
    pixels_t words = (pixels_t)(0);
    for (int k = 0; k < 4; k++) words |= channel_bytes(v[k], k, zero_point, low, high);
    store_pixels(y, words, left);
}
