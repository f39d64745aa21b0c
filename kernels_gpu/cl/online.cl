// Softmax over keys that come block by block: what attention and the merging of its ranges share.
// Source: Milakov and Gimelshein 2018, "Online normalizer calculation for softmax".
#define LOWEST -3e38f
// Positions that are summed on their own, and bytes behind the sums of such a range: their maximum and total.
#define SPLIT 256
#define TAIL 64

// Within 2e-7 relative of 2**x for x <= 0; 1 at 0, and 0 below -126.
static inline float exp2_below(float v) {
    const float x = fmax(v, -126.0f), whole = rint(x), r = x - whole;
    float e = FMA(1.3264727e-3f, r, 9.671513e-3f);
    e = FMA(e, r, 5.5507336e-2f);
    e = FMA(e, r, 2.4022242e-1f);
    e = FMA(e, r, 6.93147e-1f);
    const float y = as_float(as_int(FMA(e, r, 1.0f)) + ((int)whole << 23));
    return v < -126.0f ? 0.0f : y;
}

// The first position that a query at `position` sees; window 0 is all.
static inline int first_seen(int position, int window) { return window > 0 ? max(0, position + 1 - window) : 0; }
