// Attention of query rows to all keys they may see. A group of 64 work-items has ROWS query rows of one kv head (those
// of all heads that share it, row by row of the run), and meets blocks of 64 positions: first a work-item is a
// position, then a number of the output. Ranges of SPLIT positions are merged in order, here or, where the record
// keeps them APART, by attention_merge_f32_row: a row's bits depend on nothing but its query, keys and values.
#define BLOCK GROUP_ITEMS
#define POSITIONS 16
#define OWN ((DEPTH + GROUP_ITEMS - 1) / GROUP_ITEMS)
#define PIECES 8
#define PIECE (BLOCK / PIECES)

// What eight work-items make of eight pieces of `s`: their maxima, or their sums.
static inline rows_t piece_max(__local const rows_t *s) {
    rows_t found = s[0];
    for (int i = 1; i < PIECE; i++) found = fmax(found, s[i]);
    return found;
}

static inline rows_t piece_sum(__local const rows_t *s) {
    rows_t found = s[0];
    for (int i = 1; i < PIECE; i++) found += s[i];
    return found;
}

KERNEL(attention) {
    OPERANDS
    __local rows_t q[DEPTH], s[BLOCK], pieces[PIECES];
    __local float room[ROOM];
    const int item = get_local_id(0), tiles = divide_up(p.rows * p.group, ROWS);
    const int kv_head = (int)get_group_id(1) / tiles, row = ROWS * ((int)get_group_id(1) - tiles * kv_head);
    const int rows = present_rows(rows_at, p.rows), past = first_position(positions, rows, p.context);
    const int present = past + rows, low = first_seen(max(past, 0), p.window) / SPLIT;
    const int count = past < 0 ? 0 : clamp(rows * p.group - row, 0, ROWS);
    int firsts[ROWS], lasts[ROWS];
    for (int r = 0; r < ROWS; r++) {
        const int t = (row + min(r, max(count, 1) - 1)) / p.group;
        firsts[r] = first_seen(past + t, p.window);
        lasts[r] = p.causal ? past + t + 1 : present;
    }
    const marks_t starts = LOAD_MARKS(firsts), ends = LOAD_MARKS(lasts);
    for (int i = item; i < DEPTH; i += GROUP_ITEMS) q[i] = ALL_ROWS(0.0f);
    barrier(CLK_LOCAL_MEM_FENCE);
    KEPT_LOOP
    for (int r = 0; r < count; r++) {
        const int t = (row + r) / p.group, head = p.group * kv_head + row + r - p.group * t;
        const __global float *const from = CF32(x + (long)t * p.x_row) + DEPTH * head;
        const float factor = p.scale * head_factor(from, p.epsilon, room, item);
        for (int i = item; i < DEPTH; i += GROUP_ITEMS)
            ((__local float *)q)[ROWS * i + r] = ready(from, i, factor, norm, table, p.fine, past + t, p.half_);
    }
    const int begin = firsts[0], end = count > 0 ? lasts[ROWS - 1] : begin;
    const int number = APART ? low + (int)get_group_id(2) : begin / SPLIT;
    const int stop = APART ? number + 1 : divide_up(end, SPLIT), exists = count > 0 && number * SPLIT < present;
    const __global uchar *const k = key + (long)p.key_head * kv_head, *const v = value + (long)p.value_head * kv_head;
#if ELEMENT == 1
    const __global float *const k_scales = CF32(key + p.scales + (long)p.scale_head * kv_head);
    const __global float *const v_scales = CF32(value + p.scales + (long)p.scale_head * kv_head);
#endif
    rows_t all[OWN], all_top = ALL_ROWS(LOWEST), all_total = ALL_ROWS(0.0f), o[OWN], top, total;
    for (int j = 0; j < OWN; j++) all[j] = ALL_ROWS(0.0f);
    KEPT_LOOP
    for (int current = number; current < (exists ? stop : number); current++) {
        const int first = max(SPLIT * current, begin / BLOCK * BLOCK), last = min(SPLIT * (current + 1), end);
        top = ALL_ROWS(LOWEST);
        total = ALL_ROWS(0.0f);
        for (int j = 0; j < OWN; j++) o[j] = ALL_ROWS(0.0f);
        KEPT_LOOP
        for (int block = first; block < last; block += BLOCK) {
            const int position = block + item, seen = min(last - block, BLOCK);
            rows_t score = ALL_ROWS(0.0f);
            barrier(CLK_LOCAL_MEM_FENCE);
            if (item < divide_up(seen, POSITIONS) * POSITIONS) {
                const __global uchar *const own =
                    k + (long)p.key_group * (position / POSITIONS) + ELEMENT * (position % POSITIONS);
                KEPT_LOOP
                for (int i = 0; i < p.depth; i++)
                    score = FMA(q[i], ALL_ROWS(LOAD_NUMBER(own, POSITIONS * i)), score);
            }
#if ELEMENT == 1
            if (item < seen) score *= k_scales[position];
#endif
#if SOFTCAP
            score = p.softcap * tanh(score);
#endif
            const marks_t hidden = (marks_t)(position) < starts || (marks_t)(position) >= ends;
            score = select(score, ALL_ROWS(-INFINITY), hidden);
            s[item] = score;
            barrier(CLK_LOCAL_MEM_FENCE);
            if (item < PIECES) pieces[item] = piece_max(s + PIECE * item);
            barrier(CLK_LOCAL_MEM_FENCE);
            const rows_t new_top = fmax(top, piece_max(pieces));
            const rows_t alpha = exp2_below(top - new_top), weight = exp2_below(score - new_top);
            top = new_top;
            total = total * alpha + weight;
            for (int j = 0; j < OWN; j++) o[j] *= alpha;
#if ELEMENT == 1
            s[item] = item < seen ? weight * v_scales[position] : ALL_ROWS(0.0f);
#else
            s[item] = weight;
#endif
            barrier(CLK_LOCAL_MEM_FENCE);
            for (int i = item, j = 0; i < DEPTH; i += GROUP_ITEMS, j++) {
                const __global uchar *from = v + (long)p.value_row * block + ELEMENT * i;
                KEPT_LOOP
                for (int at = 0; at < seen; at++, from += p.value_row)
                    o[j] = FMA(s[at], ALL_ROWS(LOAD_NUMBER(from, 0)), o[j]);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        s[item] = total;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < PIECES) pieces[item] = piece_sum(s + PIECE * item);
        barrier(CLK_LOCAL_MEM_FENCE);
        total = piece_sum(pieces);
        const rows_t new_top = fmax(all_top, top);
        const rows_t a = exp2_below(all_top - new_top), b = exp2_below(top - new_top);
        for (int j = 0; j < OWN; j++) all[j] = all[j] * a + o[j] * b;
        all_total = all_total * a + total * b;
        all_top = new_top;
    }
    if (!exists) return;
    float tops[ROWS], totals[ROWS], values[ROWS];
    STORE_ROWS(top, tops);
    STORE_ROWS(total, totals);
    for (int i = item, j = 0; i < DEPTH; i += GROUP_ITEMS, j++) {
        STORE_ROWS(APART ? o[j] : all[j] * (1.0f / all_total), values);
        for (int r = 0; r < ROWS; r++) {
            if (r >= count) break;
            const int t = (row + r) / p.group, head = p.group * kv_head + row + r - p.group * t;
#if APART
            const long at = ((long)p.kv_heads * (number - low) + kv_head) * p.rows * p.group + row + r;
            __global float *const to = F32(y + (4 * DEPTH + TAIL) * at);
            if (i == 0) {
                to[DEPTH] = tops[r];
                to[DEPTH + 1] = totals[r];
            }
#else
            __global float *const to = F32(y + (long)p.y_row * t) + DEPTH * head;
#endif
            to[i] = values[r];
        }
    }
}
