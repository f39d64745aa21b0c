// The floats of each row as weighted sums of others of it. A work-item is one float; tables are [taps][pitch].
KERNEL(resample_columns_f32) {
    OPERANDS
    const int i = get_global_id(0), unit = get_global_id(1), part = unit / p.count, row = unit - part * p.count;
    if (i >= p.out || part >= p.outer) return;
    const __global uchar *const from = x + (long)part * p.x_outer + (long)row * p.x_row;
    float sum = 0.0f;
    for (int tap = 0; tap < p.taps; tap++) {
        const int entry = tap * p.pitch + i;
        sum = FMA(*CF32(from + CI32(offsets)[entry]), CF32(weights)[entry], sum);
    }
    F32(y + (long)part * p.y_outer + (long)row * p.y_row)[i] = sum;
}
