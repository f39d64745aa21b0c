// Depthwise convolution of float planes. KERNEL_SIZE 3 or 5 at STRIDE 1 or 2: a work-item is ROWS x WIDE pixels of a
// plane. Any other (KERNEL_SIZE 0): one pixel.
VECTOR_KERNEL(depthwise_f32_kp) {
    OPERANDS
    const int span = get_global_id(0), plane = get_global_id(1), channel = plane % p.channels;
    const __global float *const from = CF32(x + (long)(plane / p.multiplier) * p.x_plane);
    const __global float *const weights = CF32(w) + channel * p.kernel_;
    __global float *const to = F32(y + (long)plane * p.y_plane);
#if KERNEL_SIZE
    const window_t window = {p.height, p.width, p.out_height, p.out_width, p.top, p.left, p.low, p.high};
    depthwise_block(from, weights, CF32(bias)[channel], to, plane / p.multiplier, span, window);
#else
    const int row = span / p.out_width, column = span - row * p.out_width;
    if (row >= p.out_height) return;
    // A tap's offset is into the CPU's padded rows, which are split into `columns` cells for each phase of the stride.
    const int pitch = p.stride_w * p.columns;
    float sum = CF32(bias)[channel];
    for (int i = 0; i < p.kernel_; i++) {
        const int offset = CI32(taps)[i] / 4, tap = offset / pitch, cell = offset - tap * pitch;
        const int phase = cell / p.columns;
        const int r = row * p.stride_h - p.top + tap;
        const int c = (column + cell - phase * p.columns) * p.stride_w - p.left + phase;
        if (r >= 0 && r < p.height && c >= 0 && c < p.width) sum = FMA(from[r * p.width + c], weights[i], sum);
    }
    sum = sum < p.low ? p.low : sum;
    to[span] = sum > p.high ? p.high : sum;
#endif
}
