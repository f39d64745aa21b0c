// int8 convolution, pointwise or k x k: `taps` says where the input of each block of 4 x 4 weights lies.
// A work-item is PIXELS pixels of a row by 4 * CELLS output channels.
KERNEL(conv2d_q8_k4p) {
    OPERANDS
    const int pixels = p.row_bytes >> 2, units = divide_up(pixels, PIXELS);
    const int unit = get_global_id(0), first = CELLS * (int)get_global_id(1);
    const long image = get_global_id(2);
    if (unit >= units * (p.vectors / p.per_row) || first >= p.groups4) return;
    const int row = unit / units, column = PIXELS * (unit - row * units);
    const __global uchar *const from = x + image * p.x_batch + (long)row * p.x_pitch + 4 * column;
    const __global uint4 *weights[CELLS];
    tile_t tiles[CELLS];
    for (int c = 0; c < CELLS; c++) {
        const int n = min(first + c, p.groups4 - 1);  // the last ones may be computed twice
        weights[c] = (const __global uint4 *)w + (long)n * p.blocks;
        tiles[c] = tile_of(vload4(n, CI32(bias)));
    }
    for (int i = 0; i < p.blocks; i++) {
        const factors_t f = factors_of(LOAD_WORDS(from + CI32(taps)[i]));
        for (int c = 0; c < CELLS; c++) tiles[c] = tile_step(tiles[c], f, weights[c][i]);
    }
    for (int c = 0; c < CELLS && first + c < p.groups4; c++) {
        const int n = first + c;
        const long at = image * p.y_batch + (long)n * p.y_plane + (long)row * p.row_bytes + 4 * column;
        tile_store(
            tiles[c], vload4(n, CF32(scale)), p.zero_point, p.low, p.high, y + at, pixels - column,
            residual ? residual + at : residual, p.residual_zero, p.residual_scale
        );
    }
}
