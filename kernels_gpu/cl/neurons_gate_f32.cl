// Which neurons of a gated layer are active: activation(gate), 0 where its magnitude is not above the threshold, and a
// mark for each neuron that is not 0 in any row. A work-item has four neurons of all rows. Source: CATS, Lee et al. 2024.
#define RELU 4

KERNEL(neurons_gate_f32) {
    OPERANDS
    const int at = 4 * (int)get_global_id(0), rows = present_rows(rows_at, p.rows), left = min(4, p.width - at);
    if (left <= 0) return;
    float marks[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int row = 0; row < rows; row++) {
        const __global float *const from = CF32(x) + (long)row * p.width + at;
        float given[4], made[4];
        for (int i = 0; i < 4; i++) given[i] = i < left ? from[i] : 0.0f;
        const float4 v = vload4(0, given);
        vstore4(p.kind == RELU ? at_least(v, 0.0f) : activated(p.kind, v), 0, made);
        for (int i = 0; i < left; i++) {
            const float kept = fabs(made[i]) <= p.threshold ? 0.0f : made[i];
            F32(y)[(long)row * p.width + at + i] = kept;
            marks[i] = isnan(kept) ? 1.0f : fmax(fabs(kept), marks[i]);
        }
    }
    for (int i = 0; i < left; i++) F32(any)[at + i] = marks[i];
}
