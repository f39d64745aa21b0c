// Recurrent layers, step by step: a group has one sequence in one direction, a work-item every GROUP-th unit of it.
// Gates lie `pad` floats apart; weights are lines of 16 columns. States lie in the workspace, STATES of a sequence, in the
// order in which the source names them; what another work-item reads is written before a barrier.
// Constants: GROUP, STATES.
#define ITEM ((int)get_local_id(0))
#define PAD (16 * divide_up(p.hidden, 16))
#define STATE(i) (F32(workspace) + (((long)get_global_id(2) * p.batch + (long)get_global_id(1)) * STATES + (i)) * PAD)
#define EVERY_UNIT(unit) for (int unit = ITEM; unit < p.hidden; unit += GROUP)
#define ALL_WROTE barrier(CLK_GLOBAL_MEM_FENCE)

static inline float sigmoid(float v) { return 1.0f / (1.0f + exp(-v)); }

// Within [-limit, limit]; a NaN stays one.
static inline float bounded(float v, float limit) {
    const float raised = v < -limit ? -limit : v;
    return raised > limit ? limit : raised;
}

// start + h W of one column: `depth` products, k ascending.
static inline float column_sum(float start, __global const float *h, __global const uchar *w, int depth, int column) {
    const __global float *const line = CF32(w) + 16L * depth * (column / 16) + column % 16;
    float sum = start;
    for (int k = 0; k < depth; k++) sum = FMA(h[k], line[16 * k], sum);
    return sum;
}

// Where the group's sequence is in the operands, and which step comes s-th.
#define SEQUENCE                                                                                                  \
    const int direction = get_global_id(2), sequence = get_global_id(1), hidden = p.hidden, pad = PAD;            \
    const int length = lengths ? clamp(CI32(lengths)[sequence], 0, p.steps) : p.steps;                            \
    const int backward = p.reverse + direction;                                                                   \
    const long place = (long)direction * p.h_direction + (long)sequence * p.h_row;                                \
    const __global uchar *const input = x + (long)direction * p.x_direction + (long)sequence * p.x_row;           \
    const __global uchar *const weights = w + (long)direction * p.w_direction;                                    \
    const __global uchar *const behind = weights + 4L * GATES * pad * hidden;                                     \
    const long output = (long)direction * p.y_direction + (long)sequence * p.y_row;                               \
    (void)behind;
#define STEP_OF(s) ((long)(backward ? length - 1 - (s) : (s)))

// States before the first step: zeros where none are given. After the last: where they are asked for.
#define BEGIN(state, given) EVERY_UNIT(unit)(state)[unit] = (given) ? CF32((given) + place)[unit] : 0.0f;
#define END(state, made) \
    if (made) EVERY_UNIT(unit) F32((made) + place)[unit] = (state)[unit];

// Zeros in the steps that a shorter sequence does not have.
#define CLEAR_REST                                          \
    if (y)                                                  \
        for (long t = length; t < p.steps; t++)             \
            EVERY_UNIT(unit) F32(y + output + t * p.y_step)[unit] = 0.0f;
