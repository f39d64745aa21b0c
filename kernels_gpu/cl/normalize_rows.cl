// Rows brought to mean 0 and variance 1, then scaled: to floats, or straight to g32. A group of 64 has a row.
// Source: ONNX LayerNormalization, RMSNormalization, InstanceNormalization; without `centre` the mean is left in.
static inline float2 statistics(__global const float *x, int count, int centre, float epsilon, __local float *room,
                                int item) {
    float mean = 0.0f, sum = 0.0f;
    if (centre) {
        for (int i = item; i < count; i += GROUP_ITEMS) sum += x[i];
        mean = group_sum(sum, room, item) / (float)count;
    }
    sum = 0.0f;
    for (int i = item; i < count; i += GROUP_ITEMS) {
        const float d = x[i] - mean;
        sum = FMA(d, d, sum);
    }
    return (float2)(mean, 1.0f / sqrt(group_sum(sum, room, item) / (float)count + epsilon));
}

#if TO_GROUPS
KERNEL(normalize_rows) {
    OPERANDS
    __local float room[ROOM];
    __local uint words[GROUP_ITEMS];
    const int item = get_local_id(0), row = get_global_id(1);
    const int count = row < present_rows(rows_at, p.rows) ? p.count : 0, blocks = divide_up(count, 64);
    const __global float *const from = CF32(x + (long)row * p.x_row);
    const float2 found = statistics(from, count, p.centre, p.epsilon, room, item);
    for (int first = 0; first < 64 * blocks; first += 4 * GROUP_ITEMS) {
        const int at = first + 4 * item;
        const float4 v = (load_first4(from, at, count) - found.x) * found.y;
        const float4 scaled = v * load_first4(CF32(scale), at, count) + load_first4(CF32(bias), at, count);
        store_quantized(quantize_four(scaled, item, words), item, at / 32, blocks, y + (long)row * p.y_row);
    }
}
#else
KERNEL(normalize_rows) {
    OPERANDS
    __local float room[ROOM];
    const int item = get_local_id(0), row = get_global_id(1);
    const int count = row < present_rows(rows_at, p.rows) ? p.count : 0;
    const __global float *const from = CF32(x + (long)row * p.x_row);
    const float2 found = statistics(from, count, p.centre, p.epsilon, room, item);
    __global float *const to = F32(y + (long)row * p.y_row);
    const int channel = p.channel_scale ? row % p.period : 0;
    for (int i = item; i < count; i += GROUP_ITEMS) {
        const float v = (from[i] - found.x) * found.y;
        const int place = p.channel_scale ? channel : i;
        to[i] = v * CF32(scale)[place] + CF32(bias)[place];
    }
}
#endif
