// Runs of bytes by their numbers, int64 if `wide`: negative ones count from the end, none reaches out of the table. A
// work-item is four bytes of a run, the last one what is left.
KERNEL(gather_row) {
    OPERANDS
    const int at = 4 * (int)get_global_id(0), unit = get_global_id(1);
    const int part = unit / p.places, i = unit - part * p.places;
    if (at >= p.inner || part >= p.outer) return;
    // Of int64 the low half, made to reach out where the high one says so.
    int number = CI32(indices)[p.wide ? 2 * i : i];
    if (p.wide) {
        const int high = CI32(indices)[2 * i + 1];
        if (high != number >> 31) number = high < 0 ? INT_MIN : INT_MAX;
    }
    if (number < 0) number += p.table;
    number = clamp(number, 0, p.table - 1);
    const __global uchar *const from = x + ((long)part * p.table + number) * p.inner + at;
    __global uchar *const to = y + (long)unit * p.inner + at;
    if (at + 4 <= p.inner) vstore4(vload4(0, from), 0, to);
    else {
        for (int k = 0; k < p.inner - at; k++) to[k] = from[k];
    }
}
