// Elements over up to 8 axes with any strides. ELEMENT bytes each; RUN: the last axis lies together on both sides and
// goes 16 bytes at a time, else a work-item is one element.
#if ELEMENT == 1
typedef uchar word_t;
typedef uchar16 piece_t;
#define LOAD_PIECE vload16
#define STORE_PIECE vstore16
#elif ELEMENT == 2
typedef ushort word_t;
typedef ushort8 piece_t;
#define LOAD_PIECE vload8
#define STORE_PIECE vstore8
#else
typedef uint word_t;
typedef uint4 piece_t;
#define LOAD_PIECE vload4
#define STORE_PIECE vstore4
#endif
#define WORDS (16 / (int)sizeof(word_t))
#define WORDS_OF_ELEMENT (ELEMENT / (int)sizeof(word_t))

// The place along axis i, counted from the last axis outwards; `rest` is what is left for the axes before.
#define OUTWARD(i)                                 \
    if (p.size##i > 1) {                           \
        const int outer = rest / p.size##i;        \
        const int place = rest - outer * p.size##i; \
        from += (long)place * p.x_stride##i;       \
        to += (long)place * p.y_stride##i;         \
        rest = outer;                              \
    }

KERNEL(copy_strided_row) {
    OPERANDS
    const int words = p.size7 * WORDS_OF_ELEMENT, row_items = RUN ? divide_up(words, WORDS) : p.size7;
    const int item = get_global_id(0), row = item / row_items, place = item - row * row_items;
    int rest = get_global_id(1);
    if (row >= p.size6) return;
    long from = (long)row * p.x_stride6, to = (long)row * p.y_stride6;
    OUTWARD(5)
    OUTWARD(4)
    OUTWARD(3)
    OUTWARD(2)
    OUTWARD(1)
    OUTWARD(0)
    if (rest > 0) return;
#if RUN
    const __global word_t *const source = (const __global word_t *)(x + from);
    __global word_t *const target = (__global word_t *)(y + to);
    if (WORDS * (place + 1) <= words) {
        STORE_PIECE(LOAD_PIECE(place, source), place, target);
        return;
    }
    for (int i = WORDS * place; i < words; i++) target[i] = source[i];
#else
    const __global word_t *const source = (const __global word_t *)(x + from + (long)place * p.x_stride7);
    __global word_t *const target = (__global word_t *)(y + to + (long)place * p.y_stride7);
    target[0] = source[0];
#if ELEMENT == 8
    target[1] = source[1];
#endif
#endif
}
