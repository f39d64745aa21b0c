// Mean, sum, maximum, minimum or norm of each row of floats. LANES work-items share a row.
#define MEAN 0
#define MAX 2
#define MIN 3
#define L1 4
#define SUM_SQUARE 5

KERNEL(reduce_f32_row) {
    OPERANDS
    __local float rooms[GROUP];
    const int row = get_global_id(1);
    const __global float *const from = CF32(x + (long)min(row, p.rows - 1) * p.x_row);
    float value;
    if (p.op == MAX || p.op == MIN) {
        value = from[0];
        for (int i = LANE; i < p.count; i += LANES) {
            value = p.op == MAX ? larger(value, from[i]) : smaller(value, from[i]);
        }
        value = p.op == MAX ? largest_of_lanes(ROOM(rooms), value) : smallest_of_lanes(ROOM(rooms), value);
    } else {
        value = 0.0f;
        for (int i = LANE; i < p.count; i += LANES) {
            const float v = from[i];
            value += p.op < MAX ? v : p.op == L1 ? fabs(v) : v * v;
        }
        value = sum_of_lanes(ROOM(rooms), value);
        if (p.op == MEAN) value /= (float)p.count;
        if (p.op > SUM_SQUARE) value = sqrt(value);
    }
    if (LANE == 0 && row < p.rows) *F32(y + (long)row * p.y_row) = value;
}
