// Floats to unsigned bytes in their order. A work-item is four of them, the last one what is left.
KERNEL(quantize_f32_row) {
    OPERANDS
    const int at = 4 * (int)get_global_id(0);
    if (at >= p.count) return;
    const uint flip = (uint)(p.flip & 255) * 0x01010101u;
    const int4 q = requantize4(quotient4(vload4(0, CF32(x) + at), p.scale), p.zero_point, ACT_LOW, ACT_HIGH);
    store_first4(y + at, as_uchar4(pack4(q) ^ flip), p.count - at);
}
