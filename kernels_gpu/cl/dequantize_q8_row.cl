// Unsigned bytes to floats in their order. A work-item is four of them, the last one what is left.
KERNEL(dequantize_q8_row) {
    OPERANDS
    const int at = 4 * (int)get_global_id(0);
    if (at + 4 <= p.count) {
        vstore4(convert_float4(convert_int4(vload4(0, x + at)) - p.zero_point) * p.scale, 0, F32(y) + at);
        return;
    }
    for (int i = at; i < p.count; i++) F32(y)[i] = convert_float((int)x[i] - p.zero_point) * p.scale;
}
