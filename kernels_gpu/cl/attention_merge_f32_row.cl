// Sums over ranges of positions, which attention made apart, added in order. A group of 64 has a query row.
KERNEL(attention_merge_f32_row) {
    OPERANDS
    const int item = get_local_id(0), rows = present_rows(rows_at, p.rows);
    const int past = first_position(positions, rows, p.context);
    const int kv_head = (int)get_global_id(1) / (p.rows * p.group);
    const int row = (int)get_global_id(1) - p.rows * p.group * kv_head, t = row / p.group;
    if (past < 0 || t >= rows) return;
    const int low = first_seen(past, p.window) / SPLIT, ranges = (past + rows - 1) / SPLIT + 1 - low;
    const int head = p.group * kv_head + row - p.group * t;
    for (int i = item; i < p.depth; i += GROUP_ITEMS) {
        float top = LOWEST, total = 0.0f, sum = 0.0f;
        for (int range = 0; range < ranges; range++) {
            const long at = (long)p.rows * p.group * (p.kv_heads * range + kv_head) + row;
            const __global float *const from = CF32(x + (4 * p.depth + TAIL) * at);
            const float new_top = fmax(top, from[p.depth]);
            const float a = exp2_below(top - new_top), b = exp2_below(from[p.depth] - new_top);
            sum = sum * a + from[i] * b;
            total = total * a + from[p.depth + 1] * b;
            top = new_top;
        }
        F32(y + (long)p.y_row * t)[p.depth * head + i] = sum * (1.0f / total);
    }
}
