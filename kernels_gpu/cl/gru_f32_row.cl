// The steps of a GRU, given the products of its input with biases in them: gates z, r, h; behind the weights is the bias
// that the reset gate meets where it comes after the product (`linear`). Source: ONNX GRU-22. States: h before and after
// a step, the update gate, the reset gate times h.
#define GATES 3

KERNEL(gru_f32_row) {
    OPERANDS
    SEQUENCE
    __global float *const states[2] = {STATE(0), STATE(1)};
    __global float *const update = STATE(2), *const reset = STATE(3);
    BEGIN(states[0], h0)
    for (int s = 0; s < length; s++) {
        const __global float *const now = states[s & 1], *const given = CF32(input + STEP_OF(s) * p.x_step);
        __global float *const made = states[1 - (s & 1)];
        ALL_WROTE;
        EVERY_UNIT(unit) {
            const float z = column_sum(given[unit], now, weights, hidden, unit);
            const float r = column_sum(given[pad + unit], now, weights, hidden, pad + unit);
            update[unit] = sigmoid(bounded(z, p.clip));
            const float gate = sigmoid(bounded(r, p.clip));
            reset[unit] = p.linear ? gate : gate * now[unit];
        }
        ALL_WROTE;
        EVERY_UNIT(unit) {
            const float start = p.linear ? CF32(behind)[unit] : given[2 * pad + unit];
            const __global float *const from = p.linear ? now : reset;
            float fresh = column_sum(start, from, weights, hidden, 2 * pad + unit);
            if (p.linear) fresh = FMA(reset[unit], fresh, given[2 * pad + unit]);
            const float z = update[unit];
            const float state = FMA(z, now[unit], (1.0f - z) * tanh(bounded(fresh, p.clip)));
            made[unit] = state;
            if (y) F32(y + output + STEP_OF(s) * p.y_step)[unit] = state;
        }
    }
    CLEAR_REST
    END(states[length & 1], y_h)
}
