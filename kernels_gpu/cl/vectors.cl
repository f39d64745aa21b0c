// Vectors of WIDE floats (4, 8 or 16: a tile's choice), whole and in part: what is beyond `count` is neither read nor
// written.
#define JOINED(a, b) a##b
#define JOIN(a, b) JOINED(a, b)
typedef JOIN(float, WIDE) vec_t;
typedef JOIN(int, WIDE) ints_t;
#define LOAD_VEC(x) JOIN(vload, WIDE)(0, (x))
#define STORE_VEC(v, y) JOIN(vstore, WIDE)((v), 0, (y))
#if WIDE == 4
#define LANE_NUMBERS ((int4)(0, 1, 2, 3))
#elif WIDE == 8
#define LANE_NUMBERS ((int8)(0, 1, 2, 3, 4, 5, 6, 7))
#else
#define LANE_NUMBERS ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#endif

// The head of a kernel whose work-items are vectors already: drivers for processors should not merge them.
#define VECTOR_KERNEL(name) __attribute__((vec_type_hint(vec_t))) KERNEL(name)

static inline vec_t load_first(const __global float *x, int count) {
    if (count >= WIDE) return LOAD_VEC(x);
#if WIDE == 4
    return (float4)(x[0], count > 1 ? x[1] : 0.0f, count > 2 ? x[2] : 0.0f, 0.0f);
#else
    float lanes[WIDE];
    for (int i = 0; i < WIDE; i++) lanes[i] = i < count ? x[i] : 0.0f;
    return LOAD_VEC(lanes);
#endif
}

static inline void store_first(vec_t v, __global float *y, int count) {
    if (count >= WIDE) {
        STORE_VEC(v, y);
        return;
    }
#if WIDE == 4
    y[0] = v.x;
    if (count > 1) y[1] = v.y;
    if (count > 2) y[2] = v.z;
#else
    float lanes[WIDE];
    STORE_VEC(v, lanes);
    for (int i = 0; i < count; i++) y[i] = lanes[i];
#endif
}

// Between low and high. NaN stays: comparisons with it are false.
static inline vec_t bounded(vec_t v, float low, float high) {
    v = v < (vec_t)(low) ? (vec_t)(low) : v;
    return v > (vec_t)(high) ? (vec_t)(high) : v;
}
