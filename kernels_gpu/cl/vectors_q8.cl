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

// An instruction for the products of single words is for GPUs and their few lanes. Vectors of 16 are multiplied as such:
// drivers of processors have the instruction's name, and take every word apart.
#define DOT_WORDS (HAS_INTEGER_DOT && LANES <= 4)

// sums.lane = F(.lane, sums) for every lane.
#if LANES == 1
#define EACH_LANE(sums, F) sums = F(, sums);
#else
#define EACH_LANE(sums, F) \
    sums.s0 = F(.s0, sums); sums.s1 = F(.s1, sums); sums.s2 = F(.s2, sums); sums.s3 = F(.s3, sums);
#endif
