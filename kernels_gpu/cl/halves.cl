// What products are made of: vectors of floats, or with HALF_MATH of halves, of which up to STRETCH are added as halves
// and then to a sum of floats, so that the error does not grow with the number of products. Beside vectors.cl.
#if HALF_MATH
typedef JOIN(half, WIDE) term_t;
typedef half4 four_t;
typedef half one_t;
#define STRETCH 16
#define TERMS(v) JOIN(convert_half, WIDE)(v)
#define FOUR(v) convert_half4(v)
#define SUM_OF(v) JOIN(convert_float, WIDE)(v)
#else
typedef vec_t term_t;
typedef float4 four_t;
typedef float one_t;
#define STRETCH (1 << 26)
#define TERMS(v) (v)
#define FOUR(v) (v)
#endif
// `part` with `number` more, one factor of which is the same in all lanes.
#define ADD_TERM(part, number, factor) (part) = FMA((number), (term_t)(factor), (part))
