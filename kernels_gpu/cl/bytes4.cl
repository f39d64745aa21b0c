// Four bytes or values at a time of rows that begin and end anywhere.

// The first `left` of four bytes.
static inline void store_first4(__global uchar *y, uchar4 v, int left) {
    if (left >= 4) vstore4(v, 0, y);
    else {
        y[0] = v.x;
        if (left > 1) y[1] = v.y;
        if (left > 2) y[2] = v.z;
    }
}

// x / scale rounded correctly, also where a device's division is not: rounding to bytes must see ties as they are.
// Beyond any byte it may be wrong, as the quotient of an infinity would be.
static inline float4 quotient4(float4 x, float scale) {
    const float4 by = (float4)(scale), near = x / by;
    const float4 exact = near + fma(-near, by, x) / by;
    return select(near, exact, fabs(near) < (float4)(65536.0f));
}
