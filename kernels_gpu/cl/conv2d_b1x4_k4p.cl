// int8 convolution that skips zeros, weights in blocks of 1 output x 4 input channels. A work-item is PIXELS pixels of
// a row by four output channels, two after two: blocks that both have, then those of the first, then of the second.
KERNEL(conv2d_b1x4_k4p) {
    OPERANDS
    SPARSE_TILE
    const __global int *const line = CI32(channels) + LINE * n;
    tile_t tile = tile_of(vload4(0, line + BIAS));
    for (int pair = 0; pair < 2; pair++) {
        sums_t first = tile.c[2 * pair], second = tile.c[2 * pair + 1];
        const __global int *const starts = line + 4 * pair;
        const int end = pair ? line[LINE] : starts[4];
        const __global uint *weights = CU32(w) + starts[3];
        for (int i = starts[0]; i < end; i++) {
            const factors_t f = factors_of(LOAD_WORDS(from + CI32(taps)[CU16(index)[i]]));
            if (i < starts[2]) first = multiplied(f, *weights++, first);
            if (i < starts[1] || i >= starts[2]) second = multiplied(f, *weights++, second);
        }
        tile.c[2 * pair] = first;
        tile.c[2 * pair + 1] = second;
    }
    STORE_SPARSE_TILE
}
