// a where c, else b, of ELEMENT bytes, with broadcasting over rows or within them. A work-item is one value.
#if ELEMENT == 1
typedef uchar value_t;
#elif ELEMENT == 2
typedef ushort value_t;
#else
typedef uint value_t;
#endif
#define WORDS (ELEMENT / (int)sizeof(value_t))

KERNEL(where_row) {
    OPERANDS
    const int i = get_global_id(0), row = get_global_id(1), outer = row / p.size1, inner = row - outer * p.size1;
    if (i >= p.count || outer >= p.size0) return;
    const bool chosen = ROW_OF(c)[PLACE_OF(c)] != 0;
    const __global value_t *const from =
        (const __global value_t *)(chosen ? ROW_OF(a) : ROW_OF(b)) + WORDS * (chosen ? PLACE_OF(a) : PLACE_OF(b));
    __global value_t *const to = (__global value_t *)y + WORDS * ((long)row * p.count + i);
    to[0] = from[0];
#if ELEMENT == 8
    to[1] = from[1];
#endif
}
