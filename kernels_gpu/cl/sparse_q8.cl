// What the convolutions of bytes that skip zeros share. `channels` has a line of 16 words for every four output
// channels: where their blocks begin [8], biases [4], multipliers [4]; and a line with the end.
#define LINE 16
#define BIAS 8
#define SCALE 12

// The place of this work-item: pixels `column` and on of `row`, output channels 4 n and on; input at `from`.
#define SPARSE_TILE \
    const int pixels = p.row_bytes >> 2, units = divide_up(pixels, PIXELS); \
    const int unit = get_global_id(0), n = get_global_id(1); \
    const long image = get_global_id(2); \
    if (unit >= units * (p.vectors / p.per_row) || n >= CI32(bounds)[p.slices]) return; \
    const int row = unit / units, column = PIXELS * (unit - row * units); \
    const __global uchar *const from = x + image * p.x_batch + (long)row * p.x_pitch + 4 * column;

#define STORE_SPARSE_TILE \
    const long at = image * p.y_batch + (long)n * p.y_plane + (long)row * p.row_bytes + 4 * column; \
    tile_store( \
        tile, vload4(0, CF32(line) + SCALE), p.zero_point, p.low, p.high, y + at, pixels - column, \
        residual ? residual + at : residual, p.residual_zero, p.residual_scale \
    );
