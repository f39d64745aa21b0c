// Max pooling of bytes. A work-item is one pixel of four channels; the second dimension counts planes.
KERNEL(pool_max_q8_k4p) {
    OPERANDS
    const int place = get_global_id(0), plane = get_global_id(1);
    if (place >= p.out_height * p.out_width || plane >= p.planes) return;
    const int row = place / p.out_width, column = place - row * p.out_width;
    const int top = row * p.stride_h - p.top, left = column * p.stride_w - p.left;
    const __global uchar *const from = x + (long)plane * p.x_plane;
    act4_t largest = AS_ACT4((uint)p.identity);
    for (int i = 0; i < p.kernel_h; i++) {
        const int r = top + i * p.dilation_h;
        if (r < 0 || r >= p.height) continue;
        for (int j = 0; j < p.kernel_w; j++) {
            const int c = left + j * p.dilation_w;
            if (c >= 0 && c < p.width) largest = max(largest, AS_ACT4(CU32(from)[r * p.width + c]));
        }
    }
    U32(y + (long)plane * p.y_plane)[place] = as_uint(largest);
}
