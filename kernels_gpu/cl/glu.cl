// Gated linear units, act(gate) * up of rows [gate | up]: to floats, or straight to g32. A work-item has four values.
// Source: Shazeer 2020, "GLU variants improve Transformer".
KERNEL(glu) {
    OPERANDS
    const int at = 4 * (int)get_global_id(0), row = get_global_id(1);
    const int width = row < present_rows(rows_at, p.rows) ? p.width : 0;
    const __global float *const gate = CF32(x) + 2 * (long)row * p.width;
    const float4 v =
        activated(p.kind, load_first4(gate, at, width)) * load_first4(gate + p.width, at, width);
    __global uchar *const to = y + (long)row * p.y_row;
#if TO_GROUPS
    __local uint room[64];
    const int item = get_local_id(0);
    const quantized_t made = quantize_four(v, item, room);
    if (width > 0) store_quantized(made, item, at / 32, p.blocks, to);
#else
    if (at + 4 <= width) vstore4(v, 0, F32(to) + at);
    else {
        if (at < width) F32(to)[at] = v.x;
        if (at + 1 < width) F32(to)[at + 1] = v.y;
        if (at + 2 < width) F32(to)[at + 2] = v.z;
    }
#endif
}
