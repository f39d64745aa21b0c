// Byte planes to k4p. A work-item is one pixel of four channels, of which missing ones repeat the first.
KERNEL(interleave_q8_k4p) {
    OPERANDS
    const int pixel = get_global_id(0), plane = get_global_id(1);
    if (pixel >= p.pixels || plane >= p.planes) return;
    const int image = plane / p.groups, channel = 4 * (plane - image * p.groups), left = p.channels - channel;
    const __global uchar *const from = x + ((long)p.channels * image + channel) * p.pixels + pixel;
    const uchar first = from[0];
    const uchar4 v = (uchar4)(
        first, left > 1 ? from[p.pixels] : first, left > 2 ? from[2L * p.pixels] : first,
        left > 3 ? from[3L * p.pixels] : first
    );
    U32(y + (long)plane * p.y_plane)[pixel] = as_uint(v) ^ (uint)(p.flip & 255) * 0x01010101u;
}
