// Float planes to k4p. A work-item is one pixel of four channels, of which missing ones repeat the first.
KERNEL(quantize_f32_k4p) {
    OPERANDS
    const int pixel = get_global_id(0), plane = get_global_id(1);
    if (pixel >= p.pixels || plane >= p.planes) return;
    const int image = plane / p.groups, channel = 4 * (plane - image * p.groups), left = p.channels - channel;
    const __global uchar *const from = x + ((long)p.channels * image + channel) * p.x_plane + 4 * pixel;
    const float first = *CF32(from);
    const float4 v = (float4)(
        first, left > 1 ? *CF32(from + p.x_plane) : first, left > 2 ? *CF32(from + 2L * p.x_plane) : first,
        left > 3 ? *CF32(from + 3L * p.x_plane) : first
    );
    U32(y + (long)plane * p.y_plane)[pixel] =
        pack4(requantize4(quotient4(v, p.scale), p.zero_point, ACT_LOW, ACT_HIGH));
}
