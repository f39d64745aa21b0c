// Softmax over keys that come block by block: what attention and the merging of its ranges share.
// Source: Milakov and Gimelshein 2018, "Online normalizer calculation for softmax".
// Constant: ROWS, 4, 2 or 1 query rows, which are the elements of a rows_t.
#if ROWS == 4
typedef float4 rows_t;
typedef int4 marks_t;
#define AS_ROWS(v) as_float4(v)
#define AS_MARKS(v) as_int4(v)
#define TO_MARKS(v) convert_int4(v)
#define STORE_ROWS(v, to) vstore4((v), 0, (to))
#define LOAD_MARKS(from) vload4(0, (from))
#elif ROWS == 2
typedef float2 rows_t;
typedef int2 marks_t;
#define AS_ROWS(v) as_float2(v)
#define AS_MARKS(v) as_int2(v)
#define TO_MARKS(v) convert_int2(v)
#define STORE_ROWS(v, to) vstore2((v), 0, (to))
#define LOAD_MARKS(from) vload2(0, (from))
#else
typedef float rows_t;
typedef int marks_t;
#define AS_ROWS(v) as_float(v)
#define AS_MARKS(v) as_int(v)
#define TO_MARKS(v) convert_int(v)
#define STORE_ROWS(v, to) (*(to) = (v))
#define LOAD_MARKS(from) (*(from))
#endif
#define ALL_ROWS(v) ((rows_t)(v))

// Where maxima begin: below any score, and finite, so that differences are numbers.
#define LOWEST -3e38f
// Positions that are summed on their own, and bytes behind the sums of such a range: their maximum and total.
#define SPLIT 256
#define TAIL 64
// Loops that compilers are not to unroll: it would take them long and gain nothing.
#define KEPT_LOOP __attribute__((opencl_unroll_hint(1)))

// Within 2e-7 relative of 2**x for x <= 0; 1 at 0, and 0 below -126.
static inline rows_t exp2_below(rows_t v) {
    const rows_t x = fmax(v, ALL_ROWS(-126.0f)), whole = rint(x), r = x - whole;
    rows_t e = FMA(ALL_ROWS(1.3264727e-3f), r, ALL_ROWS(9.671513e-3f));
    e = FMA(e, r, ALL_ROWS(5.5507336e-2f));
    e = FMA(e, r, ALL_ROWS(2.4022242e-1f));
    e = FMA(e, r, ALL_ROWS(6.93147e-1f));
    e = FMA(e, r, ALL_ROWS(1.0f));
    return select(AS_ROWS(AS_MARKS(e) + (TO_MARKS(whole) << 23)), ALL_ROWS(0.0f), v < ALL_ROWS(-126.0f));
}

// The first position that a query at `position` sees; window 0 is all.
static inline int first_seen(int position, int window) { return window > 0 ? max(0, position + 1 - window) : 0; }
