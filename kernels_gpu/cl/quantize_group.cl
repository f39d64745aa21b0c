// Floats to g32: int8 in groups of 32 with a scale and a sum each, the bits of reference/g32.py.
// Eight neighbouring work-items make a group, four values each; 64 of them make eight groups.
#define SMALLEST ((127u - 100u) << 23)
#define INFINITE (255u << 23)

typedef struct {
    int4 values;
    float scale;
    int sum;
} quantized_t;

// a / b, rounded: division may be off by a few units in the last place. Normal numbers, with room for the remainder.
static inline float divide_rounded(float a, float b) {
    float q = a / b, left = fma(-q, b, a);
    for (int i = 0; i < 3; i++) {
        const float next = as_float(as_int(q) + (left > 0.0f ? 1 : -1)), rest = fma(-next, b, a);
        const int nearer = fabs(rest) < fabs(left);
        q = nearer ? next : q;
        left = nearer ? rest : left;
    }
    return q;
}

static inline uint largest_bits(float4 v) {
    // As integers, magnitudes are in the same order, and NaN is above infinity.
    const uint4 bits = as_uint4(v) & 0x7fffffffu;
    return max(max(bits.x, bits.y), max(bits.z, bits.w));
}

// The four values of each work-item as numbers of its group. room: 64 words. Every work-item of the group calls.
static inline quantized_t quantize_four(float4 v, int item, __local uint *room) {
    barrier(CLK_LOCAL_MEM_FENCE);
    room[item] = largest_bits(v);
    barrier(CLK_LOCAL_MEM_FENCE);
    uint bits = 0;
    for (int i = 0; i < 8; i++) bits = max(bits, room[(item & ~7) + i]);
    const float largest = as_float(bits);
    const int usable = bits >= SMALLEST && bits < INFINITE;
    quantized_t made;
    made.values = (int4)(0);
    made.scale = bits < SMALLEST ? 0.0f : largest;
    if (usable) {
        const float factor = divide_rounded(127.0f, largest);
        made.values = convert_int4(rint(v * factor));
        // Small ones are divided where the remainder is no denormal.
        const float shift = largest < 1.0f ? 0x1p64f : 1.0f;
        made.scale = divide_rounded(largest * shift, 127.0f) * (largest < 1.0f ? 0x1p-64f : 1.0f);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    room[item] = (uint)(made.values.x + made.values.y + made.values.z + made.values.w);
    barrier(CLK_LOCAL_MEM_FENCE);
    made.sum = 0;
    for (int i = 0; i < 8; i++) made.sum += (int)room[(item & ~7) + i];
    return made;
}

// What a work-item has of group `group` into a row of `blocks` blocks of 64.
static inline void store_quantized(quantized_t made, int item, int group, int blocks, __global uchar *row) {
    if (group >= 2 * blocks) return;
    U32(row)[8 * group + (item & 7)] = pack4(made.values);
    if ((item & 7) == 0) {
        F32(row + 64 * blocks)[group] = made.scale;
        I32(row + 72 * blocks)[group] = made.sum;
    }
}

// Values at .. at + 3 of `count` floats, zeros after them.
static inline float4 load_first4(__global const float *x, int at, int count) {
    if (at + 4 <= count) return vload4(0, x + at);
    return (float4)(at < count ? x[at] : 0.0f, at + 1 < count ? x[at + 1] : 0.0f, at + 2 < count ? x[at + 2] : 0.0f,
                    0.0f);
}
