// Functions of one float; OP is the operator's number in UNARY. A work-item is WIDE floats, the last one what is left.
static inline vec_t softplus(vec_t x) { return fmax(x, (vec_t)(0.0f)) + log1p(exp(-fabs(x))); }

static inline vec_t logistic(vec_t x) { return 1.0f / (1.0f + exp(-x)); }

static inline vec_t elu(vec_t x, float alpha) { return x > (vec_t)(0.0f) ? x : alpha * expm1(x); }

// x / (1 + exp(-z)); from -87 on downwards as if x, or z, were that.
static inline vec_t gated(vec_t x, vec_t z) {
    return (x < (vec_t)(-87.0f) ? (vec_t)(-87.0f) : x) / (1.0f + exp(fmin(-z, (vec_t)(87.0f))));
}

#if OP == 18
#define C(value) ((vec_t)(value))
// Within 2e-7, as elementwise/functions.py has it: that of some drivers is not.
static inline vec_t error_function(vec_t x) {
    const vec_t t = fmin(fabs(x), C(4.0f)), s = t * t;
    vec_t r = FMA(C(-1.72853470e-5f), t, C(3.83197126e-4f));
    r = FMA(r, s, FMA(C(-3.88396438e-3f), t, C(2.42546219e-2f)));
    r = FMA(r, t, C(-1.06777877e-1f));
    r = FMA(r, t, C(-6.34846687e-1f));
    r = FMA(r, t, C(-1.28717512e-1f));
    r = FMA(r, t, -t);
    vec_t p = FMA(C(-5.96761703e-4f), s, C(4.99119423e-3f));
    p = FMA(p, s, C(-2.67681349e-2f));
    p = FMA(p, s, C(1.12819925e-1f));
    p = FMA(p, s, C(-3.76125336e-1f));
    p = FMA(p, s, C(1.28379166e-1f));
    return isnan(x) ? x : t > C(0.927734375f) ? copysign(1.0f - exp(r), x) : FMA(p, x, x);
}
#endif

static inline vec_t function(vec_t x, float alpha, float beta) {
#if OP == 0  // Abs
    return fabs(x);
#elif OP == 1  // Neg
    return 0.0f - x;
#elif OP == 2  // Exp
    return exp(x);
#elif OP == 3  // Log
    return log(x);
#elif OP == 4  // Sqrt
    return sqrt(x);
#elif OP == 5  // Reciprocal
    return 1.0f / x;
#elif OP == 6  // Floor
    return floor(x);
#elif OP == 7  // Ceil
    return ceil(x);
#elif OP == 8  // Round
    return rint(x);
#elif OP == 9  // Relu
    return x < (vec_t)(0.0f) ? (vec_t)(0.0f) : x;
#elif OP == 10  // LeakyRelu
    return x < (vec_t)(0.0f) ? alpha * x : x;
#elif OP == 11  // ThresholdedRelu
    return x > (vec_t)(alpha) ? x : (vec_t)(0.0f);
#elif OP == 12  // Sigmoid
    return logistic(x);
#elif OP == 13  // HardSigmoid
    return bounded(alpha * x + beta, 0.0f, 1.0f);
#elif OP == 14  // HardSwish
    return x * bounded(x / 6.0f + 0.5f, 0.0f, 1.0f);
#elif OP == 15  // Swish
    return x * logistic(alpha * x);
#elif OP == 16  // Mish
    return x * tanh(softplus(x));
#elif OP == 17  // Tanh
    return tanh(x);
#elif OP == 18  // Erf
    return error_function(x);
#elif OP == 19  // Gelu: without the difference of two numbers that are alike
    const vec_t far = fmin(fabs(x), (vec_t)(13.0f));
    return (x < (vec_t)(0.0f) ? (vec_t)(0.0f) : x) - 0.5f * far * erfc(far * 0.70710678118654752f);
#elif OP == 20  // GeluTanh: (1 + tanh(u)) / 2 is the sigmoid of 2 u
    return gated(x, 1.5957691216057308f * (x + 0.044715f * x * x * x));
#elif OP == 21  // Softplus
    return softplus(x);
#elif OP == 22  // Softsign
    return x / (1.0f + fabs(x));
#elif OP == 23  // Elu
    return elu(x, alpha);
#elif OP == 24  // Celu
    return x > (vec_t)(0.0f) ? x : alpha * expm1(x / alpha);
#elif OP == 25  // Selu
    return beta * elu(x, alpha);
#else  // Clip
    return bounded(x, alpha, beta);
#endif
}

VECTOR_KERNEL(unary_f32) {
    OPERANDS
    const int count = rows_at ? p.columns * present_rows(rows_at, p.rows) : p.count;
    const int at = WIDE * (int)get_global_id(0);
    if (at >= count) return;
    store_first(function(load_first(CF32(x) + at, count - at), p.alpha, p.beta), F32(y) + at, count - at);
}
