// int8 convolution by the cells that 64 output channels share, four lines of 16 channels x 4 k each. A work-item is
// PIXELS pixels, which may lie in several rows of the input, by four output channels.
KERNEL(conv2d_b64x4_k4p) {
    OPERANDS
    const int first = PIXELS * (int)get_global_id(0), n = get_global_id(1);
    const long image = get_global_id(2);
    if (first >= p.vectors || n >= p.groups4) return;
    const __global uchar *from[PIXELS];
    for (int i = 0; i < PIXELS; i++) {
        const int pixel = min(first + i, p.vectors - 1), row = pixel / p.per_row;
        from[i] = x + image * p.x_batch + (long)row * p.x_pitch + 4 * (pixel - row * p.per_row);
    }
    const int group = n / 16, end = CI32(start)[group + 1];
    tile_t tile = tile_of(vload4(n, CI32(bias)));
    for (int i = CI32(start)[group]; i < end; i++) {
        const int offset = CI32(taps)[i];
#if PIXELS == 1
        const words_t v = *CU32(from[0] + offset);
#else
        uint each[PIXELS];
        for (int k = 0; k < PIXELS; k++) each[k] = *CU32(from[k] + offset);
        const words_t v = VECTOR(vload)(0, each);
#endif
        tile = tile_step(tile, factors_of(v), ((const __global uint4 *)w)[16L * i + (n & 15)]);
    }
    const long at = image * p.y_batch + (long)n * p.y_plane + 4 * first;
    tile_store(
        tile, vload4(n, CF32(scale)), p.zero_point, p.low, p.high, y + at, p.vectors - first,
        residual ? residual + at : residual, p.residual_zero, p.residual_scale
    );
}
