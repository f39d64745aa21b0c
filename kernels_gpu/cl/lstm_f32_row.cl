// The steps of an LSTM, given the products of its input with biases in them: gates i, o, f, c; behind the weights are
// peepholes. Source: ONNX LSTM-22. States: h before and after a step, cells.
#define GATES 4

KERNEL(lstm_f32_row) {
    OPERANDS
    SEQUENCE
    __global float *const states[2] = {STATE(0), STATE(1)};
    __global float *const cells = STATE(2);
    const __global float *const peepholes = CF32(behind);
    BEGIN(states[0], h0)
    BEGIN(cells, c0)
    for (int s = 0; s < length; s++) {
        const __global float *const now = states[s & 1], *const given = CF32(input + STEP_OF(s) * p.x_step);
        __global float *const made = states[1 - (s & 1)];
        ALL_WROTE;
        EVERY_UNIT(unit) {
            float gate[GATES];
            for (int g = 0; g < GATES; g++)
                gate[g] = column_sum(given[g * pad + unit], now, weights, hidden, g * pad + unit);
            float cell = cells[unit];
            if (p.peepholes) {
                gate[0] = FMA(peepholes[unit], cell, gate[0]);
                gate[2] = FMA(peepholes[2 * pad + unit], cell, gate[2]);
            }
            const float opened = sigmoid(bounded(gate[0], p.clip)), kept = sigmoid(bounded(gate[2], p.clip));
            cell = FMA(kept, cell, opened * tanh(bounded(gate[3], p.clip)));
            if (p.peepholes) gate[1] = FMA(peepholes[pad + unit], cell, gate[1]);
            const float state = sigmoid(bounded(gate[1], p.clip)) * tanh(cell);
            cells[unit] = cell;
            made[unit] = state;
            if (y) F32(y + output + STEP_OF(s) * p.y_step)[unit] = state;
        }
    }
    CLEAR_REST
    END(states[length & 1], y_h)
    END(cells, y_c)
}
