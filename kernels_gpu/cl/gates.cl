// Activations of gates, those of elementwise/gates.py; `kind` is their number in GLU_ACTIVATIONS.
#define SIGMOID 0
#define SILU 1
#define GELU 2

// Within 2e-7 relative of exp(v) for |v| <= 87; a NaN stays one.
static inline float4 exp_normal(float4 v) {
    const float4 shifted = FMA(v, (float4)(1.44269504088896341f), (float4)(12582912.0f)), n = shifted - 12582912.0f;
    const float4 r = FMA(n, (float4)(2.12194440e-4f), FMA(n, (float4)(-0.693359375f), v));
    float4 e = FMA((float4)(0.00829761940985918f), r, (float4)(0.04191562905907631f));
    e = FMA(e, r, (float4)(0.16667576134204865f));
    e = FMA(e, r, (float4)(0.4999889135360718f));
    e = FMA(e, r, (float4)(0.9999997019767761f));
    e = FMA(e, r, (float4)(1.0000001192092896f));
    return as_float4(as_int4(e) + (as_int4(shifted) << 23));
}

// Comparisons rather than fmin and fmax, so that a NaN stays one.
static inline float4 at_least(float4 v, float low) { return select(v, (float4)(low), v < (float4)(low)); }
static inline float4 at_most(float4 v, float high) { return select(v, (float4)(high), v > (float4)(high)); }

// a / b, whose last bit does not depend on how the device divides.
static inline float4 divided(float4 a, float4 b) {
    const float4 q = a / b;
    return select(fma(fma(-q, b, a), 1.0f / b, q), q, isinf(q));
}

// v / (1 + exp(-z)).
static inline float4 over_one_plus_exp(float4 v, float4 z) {
    return divided(v, 1.0f + exp_normal(at_most(at_least(-z, -87.0f), 87.0f)));
}

static inline float4 gelu(float4 v) {
    const float4 a = at_most(fabs(v), 13.0f);
    float4 q = FMA((float4)(2.0741836124216206e-05f), a, (float4)(-0.0005128415068611503f));
    q = FMA(q, a, (float4)(0.0055295550264418125f));
    q = FMA(q, a, (float4)(-0.03690189868211746f));
    q = FMA(q, a, (float4)(-0.3180961012840271f));
    q = FMA(q, a, (float4)(-0.7979143857955933f));
    return FMA(-0.5f * a, exp_normal(q * a), at_least(v, 0.0f));
}

static inline float4 activated(int kind, float4 v) {
    if (kind == SIGMOID) return over_one_plus_exp((float4)(1.0f), v);
    if (kind == SILU) return over_one_plus_exp(at_least(v, -87.0f), v);
    if (kind == GELU) return gelu(v);
    return over_one_plus_exp(at_least(v, -87.0f), 1.59576912160573070f * (v + 0.044715f * v * v * v));
}
