// The larger and the smaller of two floats; NaN is both.
static inline float larger(float a, float b) { return isnan(a) ? a : isnan(b) ? b : a > b ? a : b; }
static inline float smaller(float a, float b) { return isnan(a) ? a : isnan(b) ? b : a < b ? a : b; }
