// Comparisons of floats, integers and bytes (KIND: its number in COMPARED) and logic of bools, with broadcasting over
// rows or within them, to bytes of 0 and 1. A work-item is one value.
#if KIND == 0
typedef float value_t;
#elif KIND == 1
typedef int value_t;
#elif KIND == 2
typedef uchar value_t;
#define LOGIC 1
#else
typedef long value_t;
#endif

static inline bool compare(int op, value_t a, value_t b) {
    switch (op) {
        case 0: return a == b;
        case 1: return a != b;
        case 2: return a > b;
#if LOGIC
        case 4: return a & b;
        case 5: return a | b;
        case 6: return a ^ b;
#endif
        default: return a >= b;
    }
}

KERNEL(compare_row) {
    OPERANDS
    const int i = get_global_id(0), row = get_global_id(1), outer = row / p.size1, inner = row - outer * p.size1;
    if (i >= p.count || outer >= p.size0) return;
    const value_t left = ((const __global value_t *)ROW_OF(a))[PLACE_OF(a)];
    const value_t right = ((const __global value_t *)ROW_OF(b))[PLACE_OF(b)];
    y[(long)row * p.count + i] = compare(p.op, left, right);
}
