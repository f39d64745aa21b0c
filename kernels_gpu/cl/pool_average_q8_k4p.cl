// Average pooling of bytes by exact sums; the table holds what each sum is multiplied by. A work-item is one pixel of
// four channels; the second dimension counts planes.
KERNEL(pool_average_q8_k4p) {
    OPERANDS
    const int place = get_global_id(0), plane = get_global_id(1);
    if (place >= p.out_height * p.out_width || plane >= p.planes) return;
    const int row = place / p.out_width, column = place - row * p.out_width;
    const int top = row * p.stride_h - p.top, left = column * p.stride_w - p.left;
    const __global uchar *const from = x + (long)plane * p.x_plane;
    int4 sum = (int4)(0);
    for (int i = 0; i < p.kernel_h; i++) {
        const int r = top + i * p.dilation_h;
        if (r < 0 || r >= p.height) continue;
        for (int j = 0; j < p.kernel_w; j++) {
            const int c = left + j * p.dilation_w;
            if (c >= 0 && c < p.width) sum += act4(CU32(from)[r * p.width + c]) - p.x_zero;
        }
    }
    const float4 mean = convert_float4(sum) * CF32(table)[place];
    U32(y + (long)plane * p.y_plane)[place] = pack4(requantize4(mean, p.zero_point, p.low, p.high));
}
