// ArgMax and ArgMin within each row. LANES work-items share a row.
KERNEL(arg_extreme_f32_row) {
    OPERANDS
    __local float values[GROUP];
    __local int places[GROUP];
    const int lane = get_local_id(0), slot = lane + LANES * (int)get_local_id(1), row = get_global_id(1);
    const __global float *const from = CF32(x) + (long)min(row, p.rows - 1) * p.count;
    const float sign = p.smallest ? -1.0f : 1.0f;
    int place = min(lane, p.count - 1);
    float best = sign * from[place];
    for (int i = lane + LANES; i < p.count; i += LANES) {
        const float value = sign * from[i];
        if (wins(value, i, best, place, p.last)) {
            best = value;
            place = i;
        }
    }
    values[slot] = best;
    places[slot] = place;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int step = LANES / 2; step > 0; step /= 2) {
        if (lane < step && wins(values[slot + step], places[slot + step], values[slot], places[slot], p.last)) {
            values[slot] = values[slot + step];
            places[slot] = places[slot + step];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (lane == 0 && row < p.rows) store_place(y, row, places[slot]);
}
