// int8 convolution that skips zeros, weights in blocks of 2 output x 4 input channels. A work-item is PIXELS pixels of
// a row by four output channels, two after two.
KERNEL(conv2d_b2x4_k4p) {
    OPERANDS
    SPARSE_TILE
    const __global int *const line = CI32(channels) + LINE * n;
    tile_t tile = tile_of(vload4(0, line + BIAS));
    for (int pair = 0; pair < 2; pair++) {
        sums_t first = tile.c[2 * pair], second = tile.c[2 * pair + 1];
        const int end = pair ? line[LINE] : line[1];
        for (int i = line[pair]; i < end; i++) {
            const factors_t f = factors_of(LOAD_WORDS(from + CI32(taps)[CU16(index)[i]]));
            first = multiplied(f, CU32(w)[2 * i], first);
            second = multiplied(f, CU32(w)[2 * i + 1], second);
        }
        tile.c[2 * pair] = first;
        tile.c[2 * pair + 1] = second;
    }
    STORE_SPARSE_TILE
}
