// Convolution over float planes that skips zeros: weights in blocks of BLOCK output channels of one input. A work-item
// is a group of BLOCK channels (a pair, where BLOCK is 1) of WIDE pixels of a row. `index` is the number of a block's
// input, whose place is in `taps`.
#define CHANNELS (BLOCK == 1 ? 2 : BLOCK)

// Adds blocks i to stop-1 to the parts of COUNT channels, weights of block `first` at w.
#define ADD_SOME(part, COUNT, first, i, stop, w)                                          \
    for (; i < (stop); i++) {                                                             \
        const term_t value = TERMS(LOAD_VEC(CF32(source + CI32(taps)[CU16(index)[i]])));  \
        _Pragma("unroll") for (int r = 0; r < (COUNT); r++) {                             \
            ADD_TERM((part)[r], value, (one_t)(w)[(COUNT) * (i - (first)) + r]);          \
        }                                                                                 \
    }
// Adds blocks first to last-1 to the sums.
#if HALF_MATH
#define ADD_BLOCKS(sum, COUNT, first, last, w)                                             \
    for (int i = (first); i < (last);) {                                                   \
        const int stop = min(i + STRETCH, (last));                                         \
        term_t part[COUNT];                                                                \
        _Pragma("unroll") for (int r = 0; r < (COUNT); r++) part[r] = (term_t)(0.0h);      \
        ADD_SOME(part, COUNT, first, i, stop, w)                                           \
        _Pragma("unroll") for (int r = 0; r < (COUNT); r++) (sum)[r] += SUM_OF(part[r]);   \
    }
#else
#define ADD_BLOCKS(sum, COUNT, first, last, w)        \
    {                                                 \
        int i = (first);                              \
        ADD_SOME(sum, COUNT, first, i, last, w)       \
    }
#endif

#if BLOCK == 4
VECTOR_KERNEL(conv2d_b4x1_kp) {
#elif BLOCK == 2
VECTOR_KERNEL(conv2d_b2x1_kp) {
#else
VECTOR_KERNEL(conv2d_b1x1_kp) {
#endif
    OPERANDS
    const int pixels = p.row_bytes / 4, spans = divide_up(pixels, WIDE);
    const int span = get_global_id(0), group = get_global_id(1), image = get_global_id(2);
    const int row = span / spans, at = WIDE * (span - row * spans), n = CHANNELS * group;
    if (row >= max(1, p.vectors / p.per_row) || n >= p.channels) return;
    const __global uchar *const source = x + (long)image * p.x_batch + (long)row * p.x_pitch + 4 * at;
    vec_t sum[CHANNELS];
#pragma unroll
    for (int r = 0; r < CHANNELS; r++) sum[r] = (vec_t)(CF32(bias)[n + r]);
#if BLOCK == 1
    // Of a pair: the first block of both channels, of the first alone, of the second alone, and the first weight.
    const __global int *const pair = CI32(start) + 4 * group;
    const int both = pair[0], first = pair[1], second = pair[2], last = pair[4];
    const __global float *weights = CF32(w) + pair[3];
    ADD_BLOCKS(sum, 2, both, first, weights)
    weights += 2 * (first - both);
    ADD_BLOCKS(sum, 1, first, second, weights)
    weights += second - first;
    if (n + 1 < p.channels) {
        ADD_BLOCKS(sum + 1, 1, second, last, weights)
    }
#else
    const int first = CI32(start)[group], last = CI32(start)[group + 1];
    const __global float *const weights = CF32(w) + (long)BLOCK * first;
    ADD_BLOCKS(sum, BLOCK, first, last, weights)
#endif
    const ending_t ending = {bias, residual, y, p.slopes, p.low, p.high};
    const long plane = (long)image * p.y_batch + (long)row * p.row_bytes + 4 * at;
#pragma unroll
    for (int r = 0; r < CHANNELS; r++) {
        if (n + r < p.channels) finish(sum[r], n + r, plane + (long)(n + r) * p.y_plane, pixels - at, ending);
    }
}
