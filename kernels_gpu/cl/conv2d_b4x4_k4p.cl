// int8 convolution that skips zeros, weights in blocks of 4 output x 4 input channels. A work-item is PIXELS pixels of
// a row by four output channels.
KERNEL(conv2d_b4x4_k4p) {
    OPERANDS
    SPARSE_TILE
    const __global int *const line = CI32(channels) + LINE * n;
    tile_t tile = tile_of(vload4(0, line + BIAS));
    const __global uint4 *const weights = (const __global uint4 *)w;
    for (int i = line[0]; i < line[LINE]; i++)
        tile = tile_step(tile, factors_of(LOAD_WORDS(from + CI32(taps)[CU16(index)[i]])), weights[i]);
    STORE_SPARSE_TILE
}
