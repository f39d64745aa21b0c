// int8 depthwise convolution over k4p. Weights are [row][four taps][4 channels][4 taps]; taps beyond the window are
// zero and left out. A work-item is PIXELS pixels of a row by four channels; the second dimension counts planes.
#if PIXELS == 4
#define LOAD_EVERY_SECOND(x) vload8(0, x).even
#else
#define LOAD_EVERY_SECOND(x) ((uint16)(vload16(0, x).even, vload16(0, (x) + 16).even))
#endif

// What one tap meets: pixels `stride` apart from `column` of a row, the border where there are none.
static inline words_t tap_pixels(const __global uint *row, int column, int stride, int width, uint border) {
    const int last = column + stride * (PIXELS - 1);
    if (column >= 0 && last < width) {
        if (stride == 1) return LOAD_WORDS(row + column);
#if PIXELS > 1
        if (last + 1 < width) return LOAD_EVERY_SECOND(row + column);
#endif
    }
#if PIXELS == 1
    return column >= 0 && column < width ? row[column] : border;
#else
    uint each[PIXELS];
    for (int i = 0; i < PIXELS; i++) {
        const int c = column + stride * i;
        each[i] = c >= 0 && c < width ? row[c] : border;
    }
    return VECTOR(vload)(0, each);
#endif
}

KERNEL(depthwise_q8_k4p) {
    OPERANDS
    const int units = divide_up(p.out_width, PIXELS), unit = get_global_id(0), plane = get_global_id(1);
    if (unit >= units * p.out_height) return;
    const int row = unit / units, column = PIXELS * (unit - row * units), group = plane % p.groups4;
    const __global uchar *const from = x + (long)plane * p.x_plane;
    const __global uint4 *const weights = (const __global uint4 *)w + group * p.kernel_rows * p.blocks;
    const int top = row * p.stride - p.top, left = column * p.stride - p.left;
    tile_t tile = tile_of(vload4(group, CI32(bias)));
    for (int r = 0; r < p.kernel_rows; r++) {
        const int at = top + r;
        const bool inside = at >= 0 && at < p.height;
        const __global uint *const line = CU32(from) + (inside ? at * p.width : 0);
        for (int s = 0; s < p.blocks; s++) {
            const uint4 word = weights[r * p.blocks + s];
            const int taps = 4 - (int)clz(word.x | word.y | word.z | word.w) / 8;
            for (int t = 0; t < taps; t++) {
                const words_t v = inside ? tap_pixels(line, left + 4 * s + t, p.stride, p.width, (uint)p.border)
                                          : (words_t)((uint)p.border);
                const int4 by = as_int4(word << (uint4)(24 - 8 * t)) >> 24;
                tile.c[0] += act_byte(v, 0) * by.x;
                tile.c[1] += act_byte(v, 1) * by.y;
                tile.c[2] += act_byte(v, 2) * by.z;
                tile.c[3] += act_byte(v, 3) * by.w;
            }
        }
    }
    __global uchar *const to = y + (long)plane * p.y_plane + 4 * (row * p.out_width + column);
    tile_store(tile, vload4(group, CF32(scale)), p.zero_point, p.low, p.high, to, p.out_width - column, 0, 0, 0.0f);
}
