// k4p to float planes. A work-item is one pixel of four channels, of which those are written that exist.
KERNEL(dequantize_q8_k4p) {
    OPERANDS
    const int pixel = get_global_id(0), plane = get_global_id(1);
    if (pixel >= p.pixels || plane >= p.planes) return;
    const int image = plane / p.groups, channel = 4 * (plane - image * p.groups), left = p.channels - channel;
    const int4 number = act4(CU32(x + (long)plane * p.x_plane)[pixel]) - p.zero_point;
    const float4 v = convert_float4(number) * p.scale;
    __global uchar *const to = y + ((long)p.channels * image + channel) * p.y_plane + 4 * pixel;
    *F32(to) = v.x;
    if (left > 1) *F32(to + p.y_plane) = v.y;
    if (left > 2) *F32(to + 2L * p.y_plane) = v.z;
    if (left > 3) *F32(to + 3L * p.y_plane) = v.w;
}
