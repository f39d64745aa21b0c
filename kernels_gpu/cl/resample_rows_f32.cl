// Whole rows of floats as weighted sums of others. A work-item is one float; tables are [out][pitch].
KERNEL(resample_rows_f32) {
    OPERANDS
    const int i = get_global_id(0), unit = get_global_id(1), part = unit / p.out, row = unit - part * p.out;
    if (i >= p.count || part >= p.outer) return;
    const __global uchar *const from = x + (long)part * p.x_outer + 4 * i;
    float sum = 0.0f;
    for (int tap = 0; tap < p.taps; tap++) {
        const int entry = row * p.pitch + tap;
        sum = FMA(*CF32(from + CI32(offsets)[entry]), CF32(weights)[entry], sum);
    }
    F32(y + (long)part * p.y_outer + (long)row * p.y_row)[i] = sum;
}
