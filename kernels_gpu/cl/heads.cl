// Heads of packed rows made ready by a group of 64 work-items, and numbers of caches: floats, halves or int8.
// Constants: ELEMENT (bytes of a number), DEPTH (numbers of a head), NORMS (heads are normalized), ROTARY (pairs i,
// i + ROTARY that turn).
#if ELEMENT == 4
#define LOAD_NUMBER(x, i) CF32(x)[i]
#elif ELEMENT == 2
#define LOAD_NUMBER(x, i) LOAD_HALF(x, i)
#else
#define LOAD_NUMBER(x, i) ((float)CI8(x)[i])
#endif
// Positions between two coarse angles of the rotary table.
#define TURNS 128

// The position of the first row, 0 without one; -1 where the run has no rows or does not fit in the cache.
static inline int first_position(__global const uchar *positions, int rows, int context) {
    const int past = positions ? *CI32(positions) : 0;
    return rows > 0 && past >= 0 && past + rows <= context ? past : -1;
}

// 1 / sqrt(mean of squares + epsilon), 1 without norms. Every work-item of the group calls.
static inline float head_factor(__global const float *x, float epsilon, __local float *room, int item) {
#if !NORMS
    return 1.0f;
#else
    float sum = 0.0f;
    for (int i = item; i < DEPTH; i += GROUP_ITEMS) sum = FMA(x[i], x[i], sum);
    return 1.0f / sqrt(group_sum(sum, room, item) / (float)DEPTH + epsilon);
#endif
}

// Number i of scale * rotated(normalized(x)). factor: scale * head_factor. turned: pairs of a row of the table.
static inline float ready(__global const float *x, int i, float factor, __global const uchar *norm,
                          __global const uchar *table, int fine, int position, int turned) {
    const float own = x[i] * factor * (NORMS ? CF32(norm)[i] : 1.0f);
#if ROTARY
    if (i < 2 * ROTARY) {
        const int pair = i % ROTARY, other_at = i < ROTARY ? i + ROTARY : i - ROTARY;
        const float other = x[other_at] * factor * (NORMS ? CF32(norm)[other_at] : 1.0f);
        // The product of two unit complex numbers: of the last multiple of TURNS, and of what is left.
        const __global float *const a = CF32(table) + 2 * turned * (position / TURNS);
        const __global float *const b = CF32(table + fine) + 2 * turned * (position % TURNS);
        const float cosine = a[pair] * b[pair] - a[turned + pair] * b[turned + pair];
        const float sine = a[turned + pair] * b[pair] + a[pair] * b[turned + pair];
        return i < ROTARY ? own * cosine - other * sine : own * cosine + other * sine;
    }
#endif
    return own;
}
