// Pooling of float planes over windows: a work-item is one place of the result. Rows of a window first, then columns.
// Constant: AVERAGE, else the largest.
#if AVERAGE
#define COMBINE(a, b) ((a) + (b))
KERNEL(pool_average_f32_kp) {
#else
#define COMBINE(a, b) larger((a), (b))
KERNEL(pool_max_f32_kp) {
#endif
    OPERANDS
    const int i = get_global_id(0), plane = get_global_id(1), row = i / p.out_width;
    if (row >= p.out_height || plane >= p.planes) return;
    const __global float *const from = CF32(x + (long)plane * p.x_plane);
    const int top = row * p.stride_h - p.top, left = (i - row * p.out_width) * p.stride_w - p.left;
    const float identity = as_float(p.identity);
    float total = identity;
    for (int k = 0; k < p.kernel_w; k++) {
        const int c = left + k * p.dilation_w;
        if (c < 0 || c >= p.width) continue;
        float column = identity;
        for (int j = 0; j < p.kernel_h; j++) {
            const int r = top + j * p.dilation_h;
            if (r >= 0 && r < p.height) column = COMBINE(column, from[r * p.width + c]);
        }
        total = COMBINE(total, column);
    }
#if AVERAGE
    total /= CF32(table)[i];
#endif
    F32(y + (long)plane * p.y_plane)[i] = total;
}
