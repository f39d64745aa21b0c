// ArgMax and ArgMin: whether `value` at place i takes the place of `best` at place `at`. NaN wins over all numbers;
// among equals the first one wins, or the last one. For ArgMin values come negated.
static inline bool wins(float value, int i, float best, int at, int last) {
    const bool nan = isnan(value), was = isnan(best);
    if (nan != was) return nan;
    if (nan || value == best) return last ? i > at : i < at;
    return value > best;
}

// int64, as two words.
static inline void store_place(__global uchar *y, long i, int place) { vstore2((int2)(place, 0), i, I32(y)); }
