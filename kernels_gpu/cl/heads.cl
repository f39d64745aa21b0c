// Heads of packed rows made ready by a group of 64 work-items, and numbers of caches: floats, halves or int8.
// Constants: ELEMENT (bytes of a number), DEPTH (numbers of a head).
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

// 1 / sqrt(mean of squares + epsilon) with `norm`, 1 without. Every work-item of the group calls.
static inline float head_factor(__global const float *x, __global const uchar *norm, float epsilon,
                                __local float *room, int item) {
    if (!norm) return 1.0f;
    float sum = 0.0f;
    for (int i = item; i < DEPTH; i += GROUP_ITEMS) sum = FMA(x[i], x[i], sum);
    return 1.0f / sqrt(group_sum(sum, room, item) / (float)DEPTH + epsilon);
}

// Number i of scale * rotated(normalized(x)). factor: scale * head_factor. rotary: how many pairs i, i + rotary turn.
static inline float ready(__global const float *x, int i, float factor, __global const uchar *norm,
                          __global const uchar *table, int fine, int position, int rotary, int turned) {
    const float own = x[i] * factor * (norm ? CF32(norm)[i] : 1.0f);
    if (i >= 2 * rotary) return own;
    const int pair = i < rotary ? i : i - rotary, other_at = i < rotary ? i + rotary : i - rotary;
    const float other = x[other_at] * factor * (norm ? CF32(norm)[other_at] : 1.0f);
    // The product of two unit complex numbers: of the last multiple of TURNS, and of what is left.
    const __global float *const a = CF32(table) + 2 * turned * (position / TURNS);
    const __global float *const b = CF32(table + fine) + 2 * turned * (position % TURNS);
    const float cosine = a[pair] * b[pair] - a[turned + pair] * b[turned + pair];
    const float sine = a[turned + pair] * b[pair] + a[pair] * b[turned + pair];
    return i < rotary ? own * cosine - other * sine : own * cosine + other * sine;
}
