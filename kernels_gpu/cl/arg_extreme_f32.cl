// ArgMax and ArgMin over rows or planes that lie apart: a work-item is one place.
KERNEL(arg_extreme_f32) {
    OPERANDS
    const int i = get_global_id(0), part = get_global_id(1);
    if (i >= p.count || part >= p.outer) return;
    const __global uchar *const from = x + (long)part * p.x_outer + 4 * i;
    const float sign = p.smallest ? -1.0f : 1.0f;
    float best = sign * *CF32(from);
    int place = 0;
    for (int row = 1; row < p.rows; row++) {
        const float value = sign * *CF32(from + (long)row * p.x_row);
        if (wins(value, row, best, place, p.last)) {
            best = value;
            place = row;
        }
    }
    store_place(y, (long)part * p.count + i, place);
}
