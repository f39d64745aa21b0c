// The same over rows or planes: a work-item is one place, reduced over all rows.
#define MEAN 0
#define MAX 2
#define MIN 3
#define L1 4
#define SUM_SQUARE 5

KERNEL(reduce_rows_f32) {
    OPERANDS
    const int i = get_global_id(0), part = get_global_id(1);
    if (i >= p.count || part >= p.outer) return;
    const __global uchar *const from = x + (long)part * p.x_outer + 4 * i;
    float value = p.op == MAX || p.op == MIN ? *CF32(from) : 0.0f;
    for (int row = 0; row < p.rows; row++) {
        const float v = *CF32(from + (long)row * p.x_row);
        if (p.op == MAX) value = larger(value, v);
        else if (p.op == MIN) value = smaller(value, v);
        else value += p.op < MAX ? v : p.op == L1 ? fabs(v) : v * v;
    }
    if (p.op == MEAN) value /= (float)p.rows;
    if (p.op > SUM_SQUARE) value = sqrt(value);
    F32(y + (long)part * p.y_outer)[i] = value;
}
