// Vectors of LANES words of four bytes, pixels of k4p or columns of weights, so that processors have vectors to
// multiply and GPUs load several words at once. Sums and floats have the lanes of the words.
#ifdef PIXELS
#define LANES PIXELS
#else
#define LANES COLUMNS
#endif
#if LANES == 1
#define VECTOR(type) type
#define ROUNDED(type) type##_rte
#define LOAD_WORDS(x) (*CU32(x))
#else
#define GLUE_(a, b, c) a##b##c
#define GLUE(a, b, c) GLUE_(a, b, c)
#define VECTOR(type) GLUE(type, LANES, )
#define ROUNDED(type) GLUE(type, LANES, _rte)
#define LOAD_WORDS(x) VECTOR(vload)(0, CU32(x))
#endif
typedef VECTOR(int) sums_t;
typedef VECTOR(uint) words_t;
typedef VECTOR(float) floats_t;

// Byte k of every word, as a number: of activations, and of weights.
static inline sums_t signed_byte(words_t x, int k) { return VECTOR(as_int)(x << (uint)(24 - 8 * k)) >> 24; }
#if ACT_SIGNED
#define act_byte signed_byte
#else
static inline sums_t act_byte(words_t x, int k) { return VECTOR(as_int)((x >> (uint)(8 * k)) & 255u); }
#endif

// requantize of prelude.cl.
static inline sums_t requantized(floats_t v, int zero_point, int low, int high) {
    const floats_t near = clamp(v, (floats_t)(-65536.0f), (floats_t)(65536.0f));
    const sums_t held = clamp(ROUNDED(convert_int)(near) + zero_point, (sums_t)(ACT_LOW), (sums_t)(ACT_HIGH));
    return clamp(held, (sums_t)(low), (sums_t)(high));
}

// sums.lane = F(.lane, sums) for every lane: where an instruction takes single words.
#if LANES == 1
#define EACH_LANE(sums, F) sums = F(, sums);
#elif LANES == 4
#define EACH_LANE(sums, F) FOUR_LANES(sums, F, 0, 1, 2, 3)
#else
#define EACH_LANE(sums, F) \
    FOUR_LANES(sums, F, 0, 1, 2, 3) FOUR_LANES(sums, F, 4, 5, 6, 7) \
    FOUR_LANES(sums, F, 8, 9, a, b) FOUR_LANES(sums, F, c, d, e, f)
#endif
#define FOUR_LANES(sums, F, i, j, k, l) \
    sums.s##i = F(.s##i, sums); sums.s##j = F(.s##j, sums); sums.s##k = F(.s##k, sums); sums.s##l = F(.s##l, sums);
