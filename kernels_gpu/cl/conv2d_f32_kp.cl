// Convolution over float planes. A work-item is GROUPS x 4 output channels of VECTORS x WIDE pixels of a row; sums take
// their products in the order of the weights, each fused, as on the CPU (HALF_MATH: see halves.cl). Vectors beyond the row's end repeat the
// first one, and groups beyond the last one repeat that: they are computed and not stored.
#define SPAN (VECTORS * WIDE)
#define CHANNELS (GROUPS * 4)

VECTOR_KERNEL(conv2d_f32_kp) {
    OPERANDS
    const int pixels = p.row_bytes / 4, spans = divide_up(pixels, SPAN);
    const int span = get_global_id(0), n = CHANNELS * (int)get_global_id(1), image = get_global_id(2);
    const int row = span / spans, at = SPAN * (span - row * spans);
    if (row >= max(1, p.vectors / p.per_row) || n >= p.channels) return;
    const __global uchar *const source = x + (long)image * p.x_batch + (long)row * p.x_pitch + 4 * at;
    int place[VECTORS];
#pragma unroll
    for (int v = 0; v < VECTORS; v++) place[v] = at + v * WIDE < pixels ? v * WIDE : 0;
    const __global float *weights[GROUPS];
    vec_t sum[CHANNELS][VECTORS];
#pragma unroll
    for (int g = 0; g < GROUPS; g++) {
        const int group = min(n / 4 + g, (p.channels - 1) / 4);
        weights[g] = CF32(w) + (long)group * 4 * p.blocks;
#pragma unroll
        for (int r = 0; r < 4; r++) {
#pragma unroll
            for (int v = 0; v < VECTORS; v++) sum[4 * g + r][v] = (vec_t)(CF32(bias)[4 * group + r]);
        }
    }
    int i = 0;
    while (i < p.blocks) {
        const int stop = i + min(STRETCH, p.blocks - i);
#if HALF_MATH
        term_t part[CHANNELS][VECTORS];
#pragma unroll
        for (int r = 0; r < CHANNELS; r++) {
#pragma unroll
            for (int v = 0; v < VECTORS; v++) part[r][v] = (term_t)(0.0h);
        }
#else
#define part sum
#endif
        for (; i < stop; i++) {
            const __global float *const cells = CF32(source + CI32(taps)[i]);
            term_t value[VECTORS];
#pragma unroll
            for (int v = 0; v < VECTORS; v++) value[v] = TERMS(LOAD_VEC(cells + place[v]));
#pragma unroll
            for (int g = 0; g < GROUPS; g++) {
                const four_t four = FOUR(vload4(i, weights[g]));
#pragma unroll
                for (int v = 0; v < VECTORS; v++) {
                    ADD_TERM(part[4 * g][v], value[v], four.x);
                    ADD_TERM(part[4 * g + 1][v], value[v], four.y);
                    ADD_TERM(part[4 * g + 2][v], value[v], four.z);
                    ADD_TERM(part[4 * g + 3][v], value[v], four.w);
                }
            }
        }
#if HALF_MATH
#pragma unroll
        for (int r = 0; r < CHANNELS; r++) {
#pragma unroll
            for (int v = 0; v < VECTORS; v++) sum[r][v] += SUM_OF(part[r][v]);
        }
#endif
    }
    const ending_t ending = {bias, residual, y, p.slopes, p.low, p.high};
    const long plane = (long)image * p.y_batch + (long)row * p.row_bytes + 4 * at;
#pragma unroll
    for (int r = 0; r < CHANNELS; r++) {
#pragma unroll
        for (int v = 0; v < VECTORS; v++) {
            const int left = pixels - at - v * WIDE;
            if (n + r < p.channels && left > 0) {
                finish(sum[r][v], n + r, plane + (long)(n + r) * p.y_plane + 4 * v * WIDE, left, ending);
            }
        }
    }
}
