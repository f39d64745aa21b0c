// Softmax or LogSoftmax of each row. LANES work-items share a row, and each reads what it wrote itself.
KERNEL(softmax_f32_row) {
    OPERANDS
    __local float rooms[GROUP];
    const int row = get_global_id(1), count = row < p.rows ? p.count : 0;
    const __global float *const from = CF32(x) + (long)min(row, p.rows - 1) * p.count;
    __global float *const to = F32(y) + (long)min(row, p.rows - 1) * p.count;
    float top = -INFINITY;
    for (int i = LANE; i < count; i += LANES) top = larger(top, from[i]);
    top = largest_of_lanes(ROOM(rooms), top);
    float total = 0.0f;
    for (int i = LANE; i < count; i += LANES) {
        const float e = exp(from[i] - top);
        total += e;
        if (!p.logarithm) to[i] = e;
    }
    total = sum_of_lanes(ROOM(rooms), total);
    const float lost = top + log(total);
    for (int i = LANE; i < count; i += LANES) to[i] = p.logarithm ? from[i] - lost : to[i] / total;
}
