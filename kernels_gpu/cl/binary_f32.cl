// Arithmetic of two float tensors [size0][size1][count] with broadcasting over rows or within them, and a clamp.
// A work-item is one value; the third dimension counts rows.
static inline float combine(int op, float a, float b) {
    switch (op) {
        case 0: return a + b;
        case 1: return a - b;
        case 2: return a * b;
        case 3: return a / b;
        case 4: return isnan(a) ? a : a < b ? a : b;
        case 5: return isnan(a) ? a : a > b ? a : b;
        default: return a < 0.0f ? a * b : a;
    }
}

KERNEL(binary_f32) {
    OPERANDS
    const int i = get_global_id(0), row = get_global_id(1);
    if (i >= p.count || row >= p.size0 * p.size1) return;
    const int outer = row / p.size1, inner = row - outer * p.size1;
    const __global float *const from = CF32(a + outer * p.a_stride0 + inner * p.a_stride1);
    const __global float *const with = CF32(b + outer * p.b_stride0 + inner * p.b_stride1);
    const float value = combine(p.op, from[p.a_spread ? 0 : i], with[p.b_spread ? 0 : i]);
    // Bounds that are infinite let NaN through: comparisons with it are false.
    const float raised = value < p.low ? p.low : value;
    F32(y)[row * p.count + i] = raised > p.high ? p.high : raised;
}
