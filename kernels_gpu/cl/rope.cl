// Keys and values of a run, written into a cache: keys normalized, rotated and transposed, values as they are.
// A group of 64 has one head of one row, the keys of all rows first, then their values. Halves saturate.
#define HALF_MAX 65504.0f
#define POSITIONS 16

static inline void store_number(float v, float inverse, __global uchar *y, long i) {
#if ELEMENT == 4
    F32(y)[i] = v;
#elif ELEMENT == 2
    STORE_HALF(clamp(v, -HALF_MAX, HALF_MAX), y, i);
#else
    I8(y)[i] = convert_char_sat(rint(v * inverse));
#endif
}

KERNEL(rope) {
    OPERANDS
    __local float room[ROOM];
    const int item = get_local_id(0), kv_head = get_global_id(1), is_value = (int)get_global_id(2) >= p.rows;
    const int t = (int)get_global_id(2) - is_value * p.rows, rows = present_rows(rows_at, p.rows);
    const int past = first_position(positions, rows, p.context), exists = past >= 0 && t < rows;
    const int position = exists ? past + t : 0, row = exists ? t : 0;
    const __global float *const from =
        CF32(x + (long)row * p.x_row + (is_value ? p.x_value : p.x_key)) + DEPTH * kv_head;
    const float factor = head_factor(from, p.epsilon, room, item);
    float made[(DEPTH + GROUP_ITEMS - 1) / GROUP_ITEMS];
    float largest = 0.0f;
    for (int i = item, j = 0; i < DEPTH; i += GROUP_ITEMS, j++) {
        made[j] = is_value ? from[i] : ready(from, i, factor, norm, table, p.fine, position, p.half_);
        largest = fmax(largest, fabs(made[j]));
    }
    float inverse = 0.0f;
#if ELEMENT == 1
    largest = group_max(largest, room, item);
    inverse = 127.0f / fmax(largest, 1e-30f);
    __global uchar *const scales = (is_value ? value : key) + p.scales + (long)p.scale_head * kv_head;
    if (exists && item == 0) F32(scales)[position] = largest / 127.0f;
#endif
    if (!exists) return;
    if (is_value) {
        __global uchar *const to = value + (long)p.value_head * kv_head;
        for (int i = item, j = 0; i < DEPTH; i += GROUP_ITEMS, j++)
            store_number(made[j], inverse, to, (long)DEPTH * position + i);
    } else {
        __global uchar *const to = key + (long)p.key_head * kv_head + (long)p.key_group * (position / POSITIONS);
        for (int i = item, j = 0; i < DEPTH; i += GROUP_ITEMS, j++)
            store_number(made[j], inverse, to, POSITIONS * i + position % POSITIONS);
    }
}
