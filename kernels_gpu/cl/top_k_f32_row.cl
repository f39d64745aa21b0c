// The k largest of each row in order. A row is looked at as columns(p) columns, of every columns(p)-th value each. A
// column whose largest value is not among the k largest of those has none of the row's k largest: so many lie before
// it. What is left of the k other columns, where it does not come after all of those largest values, is few values:
// each counts how many of them come before it, which is its place. Numbers are compared as integers, so that NaN,
// zeros of both signs and denormals are the same everywhere; places make all of them different.
#define NONE INT_MIN
#define HEAD 16 // words before the tables of a row: how many survivors there are

static inline int up16(int n) { return (n + 15) & ~15; }
static inline int columns(params_t p) { return (min(p.count, SPREAD * max(p.k, 64)) + 63) & ~63; }
static inline int deep(params_t p) { return divide_up(p.count, columns(p)); }
static inline int survivors(params_t p) { return up16(p.k * deep(p)); }

// Tables of a row: the largest of each column and where it is, the columns that are left, the survivors.
#define TABLES \
    __global int *const head = I32(workspace) + (long)row * (HEAD + 2 * columns(p) + up16(p.k) + 2 * survivors(p)); \
    __global int *const tops = head + HEAD, *const tops_at = tops + columns(p), *const left = tops_at + columns(p); \
    __global int *const keys = left + up16(p.k), *const keys_at = keys + survivors(p); \
    (void)tops_at, (void)left, (void)keys, (void)keys_at;

// The bits of a float in the order of the numbers, NaN last.
static inline int key_of(int bits) {
    const int magnitude = bits & INT_MAX;
    return magnitude > 0x7f800000 ? INT_MAX : magnitude == 0 ? 0 : bits ^ (bits >> 31 & INT_MAX);
}

static inline ints_t keys_of(ints_t bits) {
    const ints_t magnitude = bits & (ints_t)(INT_MAX), key = bits ^ (bits >> (ints_t)(31) & (ints_t)(INT_MAX));
    return select(
        select(key, (ints_t)(0), magnitude == (ints_t)(0)), (ints_t)(INT_MAX), magnitude > (ints_t)(0x7f800000));
}

static inline bool comes_before(int key, int at, int other, int there) {
    return key > other || (key == other && at < there);
}

// How many of `count` keys come before this one. Tables end with a whole vector.
static inline int before(const __global int *keys, const __global int *keys_at, int count, int key, int at) {
    ints_t sum = (ints_t)(0);
    for (int i = 0; i < count; i += WIDE) {
        const ints_t other = JOIN(vload, WIDE)(0, keys + i), there = JOIN(vload, WIDE)(0, keys_at + i);
        const ints_t first = (other > (ints_t)(key)) | ((other == (ints_t)(key)) & (there < (ints_t)(at)));
        const ints_t there_is = (ints_t)(i) + LANE_NUMBERS < (ints_t)(count);
        sum += select((ints_t)(0), (ints_t)(1), first & there_is);
    }
    int lanes[WIDE], total = 0;
    JOIN(vstore, WIDE)(sum, 0, lanes);
    for (int i = 0; i < WIDE; i++) total += lanes[i];
    return total;
}

// The largest of WIDE columns, the first one of equals.
VECTOR_KERNEL(top_k_columns) {
    OPERANDS
    const int column = WIDE * (int)get_global_id(0), row = get_global_id(1);
    if (column >= columns(p) || row >= p.rows) return;
    TABLES
    const __global int *const from = CI32(x) + (long)row * p.count;
    ints_t best = (ints_t)(NONE), at = (ints_t)(INT_MAX);
    for (int i = column; i < p.count; i += columns(p)) {
        const ints_t place = (ints_t)(i) + LANE_NUMBERS;
        const ints_t key = keys_of(JOIN(vload, WIDE)(0, from + i));
        const ints_t better = (key > best) & (place < (ints_t)(p.count));
        best = select(best, key, better);
        at = select(at, place, better);
    }
    JOIN(vstore, WIDE)(best, 0, tops + column);
    JOIN(vstore, WIDE)(at, 0, tops_at + column);
    if (column == 0) head[0] = 0;
}

// The k columns that are left, in the order of their largest values.
VECTOR_KERNEL(top_k_left) {
    OPERANDS
    const int column = get_global_id(0), row = get_global_id(1);
    if (column >= columns(p) || row >= p.rows) return;
    TABLES
    if (tops[column] == NONE) return;
    const int rank = before(tops, tops_at, columns(p), tops[column], tops_at[column]);
    if (rank < p.k) left[rank] = column;
}

// The values of those that do not come after the last of their largest, in any order.
KERNEL(top_k_survivors) {
    OPERANDS
    const int i = get_global_id(0), row = get_global_id(1);
    if (i >= p.k * deep(p) || row >= p.rows) return;
    TABLES
    const int last = left[p.k - 1], at = left[i % p.k] + columns(p) * (i / p.k);
    if (at >= p.count) return;
    const int key = key_of(CI32(x)[(long)row * p.count + at]);
    if (comes_before(tops[last], tops_at[last], key, at)) return;
    const int slot = atomic_inc((volatile __global int *)head);
    keys[slot] = key;
    keys_at[slot] = at;
}

VECTOR_KERNEL(top_k_order) {
    OPERANDS
    const int i = get_global_id(0), row = get_global_id(1);
    if (i >= p.k * deep(p) || row >= p.rows) return;
    TABLES
    if (i >= head[0]) return;
    const int rank = before(keys, keys_at, head[0], keys[i], keys_at[i]);
    if (rank >= p.k) return;
    I32(y)[(long)row * p.k + rank] = CI32(x)[(long)row * p.count + keys_at[i]];
    vstore2((int2)(keys_at[i], 0), (long)row * p.k + rank, I32(places));
}
