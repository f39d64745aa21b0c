// Attention of query rows to all keys they may see. A group of 64 work-items has ROWS query rows of one kv head (those
// of all heads that share it, row by row of the run), and meets blocks of 64 positions: first a work-item is a
// position, then a number of the output. Ranges of SPLIT positions are merged in order, here or, where the record
// splits them, by attention_merge_f32_row: a row's bits depend on nothing but its query, keys and values.
#define BLOCK GROUP_ITEMS
#define POSITIONS 16
#define OWN ((DEPTH + GROUP_ITEMS - 1) / GROUP_ITEMS)
#define PIECES 8

KERNEL(attention) {
    OPERANDS
    __local float q[ROWS][DEPTH], s[ROWS][BLOCK], tops[ROWS][PIECES], room[ROOM];
    const int item = get_local_id(0), tiles = divide_up(p.rows * p.group, ROWS);
    const int kv_head = (int)get_group_id(1) / tiles, row = ROWS * ((int)get_group_id(1) - tiles * kv_head);
    const int rows = present_rows(rows_at, p.rows), past = first_position(positions, rows, p.context);
    const int present = past + rows, low = first_seen(max(past, 0), p.window) / SPLIT;
    const int count = past < 0 ? 0 : clamp(rows * p.group - row, 0, ROWS);
    int starts[ROWS], ends[ROWS];
    for (int r = 0; r < ROWS; r++) {
        const int t = (row + min(r, max(count, 1) - 1)) / p.group;
        starts[r] = first_seen(past + t, p.window);
        ends[r] = p.causal ? past + t + 1 : present;
    }
    for (int r = 0; r < count; r++) {
        const int t = (row + r) / p.group, head = p.group * kv_head + row + r - p.group * t;
        const __global float *const from = CF32(x + (long)t * p.x_row) + DEPTH * head;
        const float factor = p.scale * head_factor(from, norm, p.epsilon, room, item);
        for (int i = item; i < DEPTH; i += GROUP_ITEMS)
            q[r][i] = ready(from, i, factor, norm, table, p.fine, past + t, p.rotary, p.half_);
    }
    const int begin = starts[0], end = count > 0 ? ends[ROWS - 1] : begin;
    const int number = p.split ? low + (int)get_group_id(2) : begin / SPLIT;
    const int stop = p.split ? number + 1 : divide_up(end, SPLIT), exists = count > 0 && number * SPLIT < present;
    const __global uchar *const k = key + (long)p.key_head * kv_head, *const v = value + (long)p.value_head * kv_head;
#if ELEMENT == 1
    const __global float *const k_scales = CF32(key + p.scales + (long)p.scale_head * kv_head);
    const __global float *const v_scales = CF32(value + p.scales + (long)p.scale_head * kv_head);
#endif
    float all[ROWS][OWN], all_top[ROWS], all_total[ROWS], o[ROWS][OWN], top[ROWS], total[ROWS];
    for (int r = 0; r < ROWS; r++) {
        all_top[r] = LOWEST;
        all_total[r] = 0.0f;
        for (int j = 0; j < OWN; j++) all[r][j] = 0.0f;
    }
    for (int current = number; current < (exists ? stop : number); current++) {
        const int first = max(SPLIT * current, begin / BLOCK * BLOCK), last = min(SPLIT * (current + 1), end);
        for (int r = 0; r < ROWS; r++) {
            top[r] = LOWEST;
            total[r] = 0.0f;
            for (int j = 0; j < OWN; j++) o[r][j] = 0.0f;
        }
        for (int block = first; block < last; block += BLOCK) {
            const int position = block + item, seen = min(last - block, BLOCK);
            float score[ROWS];
            for (int r = 0; r < ROWS; r++) score[r] = 0.0f;
            barrier(CLK_LOCAL_MEM_FENCE);
            if (item < divide_up(seen, POSITIONS) * POSITIONS) {
                const __global uchar *const own =
                    k + (long)p.key_group * (position / POSITIONS) + ELEMENT * (position % POSITIONS);
                for (int i = 0; i < DEPTH; i++) {
                    const float number_of = LOAD_NUMBER(own, POSITIONS * i);
                    for (int r = 0; r < ROWS; r++) score[r] = FMA(q[r][i], number_of, score[r]);
                }
            }
            for (int r = 0; r < ROWS; r++) {
#if ELEMENT == 1
                if (item < seen) score[r] *= k_scales[position];
#endif
                if (p.softcap > 0.0f) score[r] = p.softcap * tanh(score[r]);
                if (position < starts[r] || position >= ends[r]) score[r] = -INFINITY;
                s[r][item] = score[r];
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int piece = item; piece < ROWS * PIECES; piece += GROUP_ITEMS) {
                const __local float *const eight = &s[piece / PIECES][BLOCK / PIECES * (piece % PIECES)];
                float largest = eight[0];
                for (int i = 1; i < BLOCK / PIECES; i++) largest = fmax(largest, eight[i]);
                tops[piece / PIECES][piece % PIECES] = largest;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int r = 0; r < ROWS; r++) {
                float new_top = top[r];
                for (int i = 0; i < PIECES; i++) new_top = fmax(new_top, tops[r][i]);
                const float alpha = exp2_below(top[r] - new_top), weight = exp2_below(score[r] - new_top);
                top[r] = new_top;
                total[r] = total[r] * alpha + weight;
                for (int j = 0; j < OWN; j++) o[r][j] *= alpha;
#if ELEMENT == 1
                s[r][item] = item < seen ? weight * v_scales[position] : 0.0f;
#else
                s[r][item] = weight;
#endif
            }
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = item, j = 0; i < DEPTH; i += GROUP_ITEMS, j++) {
                const __global uchar *from = v + (long)p.value_row * block + ELEMENT * i;
                for (int at = 0; at < seen; at++, from += p.value_row) {
                    const float number_of = LOAD_NUMBER(from, 0);
                    for (int r = 0; r < ROWS; r++) o[r][j] = FMA(s[r][at], number_of, o[r][j]);
                }
            }
        }
        for (int r = 0; r < ROWS; r++) {
            total[r] = group_sum(total[r], room, item);
            const float new_top = fmax(all_top[r], top[r]);
            const float a = exp2_below(all_top[r] - new_top), b = exp2_below(top[r] - new_top);
            for (int j = 0; j < OWN; j++) all[r][j] = all[r][j] * a + o[r][j] * b;
            all_total[r] = all_total[r] * a + total[r] * b;
            all_top[r] = new_top;
        }
    }
    if (!exists) return;
    for (int r = 0; r < count; r++) {
        const int t = (row + r) / p.group, head = p.group * kv_head + row + r - p.group * t;
        if (p.split) {
            const long at = ((long)p.kv_heads * (number - low) + kv_head) * p.rows * p.group + row + r;
            __global float *const to = F32(y + (4 * DEPTH + TAIL) * at);
            for (int i = item, j = 0; i < DEPTH; i += GROUP_ITEMS, j++) to[i] = o[r][j];
            if (item == 0) {
                to[DEPTH] = top[r];
                to[DEPTH + 1] = total[r];
            }
        } else {
            __global float *const to = F32(y + (long)p.y_row * t) + DEPTH * head;
            const float inverse = 1.0f / all_total[r];
            for (int i = item, j = 0; i < DEPTH; i += GROUP_ITEMS, j++) to[i] = all[r][j] * inverse;
        }
    }
}
