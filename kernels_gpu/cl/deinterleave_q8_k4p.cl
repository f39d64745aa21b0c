// k4p to byte planes. A work-item is one pixel of four channels, of which those are written that exist.
KERNEL(deinterleave_q8_k4p) {
    OPERANDS
    const int pixel = get_global_id(0), plane = get_global_id(1);
    if (pixel >= p.pixels || plane >= p.planes) return;
    const int image = plane / p.groups, channel = 4 * (plane - image * p.groups), left = p.channels - channel;
    const uint word = CU32(x + (long)plane * p.x_plane)[pixel] ^ (uint)(p.flip & 255) * 0x01010101u;
    const uchar4 v = as_uchar4(word);
    __global uchar *const to = y + ((long)p.channels * image + channel) * p.pixels + pixel;
    to[0] = v.x;
    if (left > 1) to[p.pixels] = v.y;
    if (left > 2) to[2L * p.pixels] = v.z;
    if (left > 3) to[3L * p.pixels] = v.w;
}
