// Four bytes repeated over a buffer: what Pad puts around. A work-item writes four bytes, the last one what is left.
KERNEL(fill_row) {
    OPERANDS
    const int at = 4 * (int)get_global_id(0);
    if (at + 4 <= p.nbytes) {
        *U32(y + at) = (uint)p.pattern;
        return;
    }
    for (int i = at; i < p.nbytes; i++) y[i] = (uchar)((uint)p.pattern >> 8 * (i & 3));
}
