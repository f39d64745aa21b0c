// How float convolutions end: the residual is added, sums below 0 are scaled by their channel's slope (`slopes` bytes
// after its bias; 0: none has one), and clamped. Places of residual and y are those of the planes.
typedef struct {
    const __global uchar *bias, *residual;
    __global uchar *y;
    int slopes;
    float low, high;
} ending_t;

static inline void finish(vec_t sum, int channel, long at, int count, ending_t e) {
    if (e.residual) sum += load_first(CF32(e.residual + at), count);
    if (e.slopes) sum = sum < (vec_t)(0.0f) ? sum * CF32(e.bias + e.slopes)[channel] : sum;
    store_first(bounded(sum, e.low, e.high), F32(e.y + at), count);
}
