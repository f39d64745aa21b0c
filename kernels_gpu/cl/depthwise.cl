#if KERNEL_SIZE
// Depthwise convolution of KERNEL_SIZE x KERNEL_SIZE on a plane as it lies: ROWS x WIDE output pixels. Constants:
// KERNEL_SIZE, STRIDE (1 or 2), ROWS, WIDE. Vectors of cells begin and end wherever they do in the plane; what is of
// another row is masked away. With HALF_MATH (halves.cl) all products of a pixel, 25 at most, are added as halves.
#if HALF_MATH
#define FIRST(bias) 0.0h
#define DONE(sum, bias) (SUM_OF(sum) + (bias))
#else
#define FIRST(bias) (bias)
#define DONE(sum, bias) (sum)
#endif

typedef struct {
    int height, width, out_height, out_width, top, left;
    float low, high;
} window_t;

// Cells first, first + STRIDE, ... of a row.
static inline vec_t row_cells(const __global float *row, int first, int width) {
    const vec_t near = first < width ? LOAD_VEC(row + first) : (vec_t)(0.0f);
#if STRIDE == 1
    return near;
#else
    return (vec_t)(near.even, first + WIDE < width ? LOAD_VEC(row + first + WIDE).even : ((vec_t)(0.0f)).even);
#endif
}

// From output row `down`, column `across`, whose cells all lie after the beginning of x.
static inline void depthwise(
    const __global float *x, const __global float *w, float bias, __global float *y, int down, int across, window_t g
) {
    term_t sum[ROWS];
    ints_t outside[KERNEL_SIZE];
#pragma unroll
    for (int r = 0; r < ROWS; r++) sum[r] = (term_t)(FIRST(bias));
#pragma unroll
    for (int k = 0; k < KERNEL_SIZE; k++) {
        const ints_t cell = across * STRIDE - g.left + k + STRIDE * LANE_NUMBERS;
        outside[k] = cell < (ints_t)(0) | cell >= (ints_t)(g.width);
    }
#pragma unroll
    for (int i = 0; i < (ROWS - 1) * STRIDE + KERNEL_SIZE; i++) {
        const int row = down * STRIDE - g.top + i;
        if (row < 0 || row >= g.height) continue;
#pragma unroll
        for (int k = 0; k < KERNEL_SIZE; k++) {
            const vec_t cells = row_cells(x + row * g.width, across * STRIDE - g.left + k, g.width);
            const term_t inside = TERMS(outside[k] ? (vec_t)(0.0f) : cells);
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const int tap = i - r * STRIDE;
                if (tap >= 0 && tap < KERNEL_SIZE) ADD_TERM(sum[r], inside, (one_t)w[tap * KERNEL_SIZE + k]);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        if (down + r < g.out_height) {
            store_first(bounded(DONE(sum[r], bias), g.low, g.high), y + (down + r) * g.out_width + across, g.out_width - across);
        }
    }
}

// The same pixel by pixel: the beginning of the first plane, before which nothing may be read.
static inline void first_depthwise(
    const __global float *x, const __global float *w, float bias, __global float *y, int down, int across,
    window_t g
) {
    for (int i = 0; i < ROWS * WIDE; i++) {
        const int line = down + i / WIDE, column = across + i % WIDE;
        if (line >= g.out_height || column >= g.out_width) continue;
        float sum = bias;
        for (int tap = 0; tap < KERNEL_SIZE * KERNEL_SIZE; tap++) {
            const int row = line * STRIDE - g.top + tap / KERNEL_SIZE;
            const int cell = column * STRIDE - g.left + tap % KERNEL_SIZE;
            if (row >= 0 && row < g.height && cell >= 0 && cell < g.width) {
                sum = FMA(x[row * g.width + cell], w[tap], sum);
            }
        }
        sum = sum < g.low ? g.low : sum;
        y[line * g.out_width + column] = sum > g.high ? g.high : sum;
    }
}

// Block `span` of a plane's ROWS x WIDE pixels, along the rows first.
static inline void depthwise_block(
    const __global float *x, const __global float *w, float bias, __global float *y, int plane, int span, window_t g
) {
    const int spans = divide_up(g.out_width, WIDE), down = span / spans * ROWS, across = WIDE * (span % spans);
    if (down >= g.out_height) return;
    if (plane == 0 && down * STRIDE <= g.top && across * STRIDE < g.left) {
        first_depthwise(x, w, bias, y, down, across, g);
    } else {
        depthwise(x, w, bias, y, down, across, g);
    }
}
#endif
