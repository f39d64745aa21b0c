// The steps of a plain recurrent layer, given the products of its input with biases in them. `function` is tanh, relu or
// sigmoid. Source: ONNX RNN-22. States: h before and after a step.
#define GATES 1

KERNEL(rnn_f32_row) {
    OPERANDS
    SEQUENCE
    __global float *const states[2] = {STATE(0), STATE(1)};
    BEGIN(states[0], h0)
    for (int s = 0; s < length; s++) {
        const __global float *const now = states[s & 1], *const given = CF32(input + STEP_OF(s) * p.x_step);
        __global float *const made = states[1 - (s & 1)];
        ALL_WROTE;
        EVERY_UNIT(unit) {
            const float sum = bounded(column_sum(given[unit], now, weights, hidden, unit), p.clip);
            const float relu = sum < 0.0f ? 0.0f : sum;
            const float state = p.function == 0 ? tanh(sum) : p.function == 1 ? relu : sigmoid(sum);
            made[unit] = state;
            if (y) F32(y + output + STEP_OF(s) * p.y_step)[unit] = state;
        }
    }
    CLEAR_REST
    END(states[length & 1], y_h)
}
