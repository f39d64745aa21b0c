// Bytes through a table of 256. A work-item is four bytes of a row; the last one of a row writes what is left.
KERNEL(lookup_q8) {
    OPERANDS
    const int at = 4 * (int)get_global_id(0), row = get_global_id(1);
    if (at >= p.row_bytes || row >= p.rows) return;
    const uchar4 v = vload4(0, x + (long)row * p.x_row + at);
    const uchar4 out = (uchar4)(table[v.x], table[v.y], table[v.z], table[v.w]);
    store_first4(y + (long)row * p.y_row + at, out, p.row_bytes - at);
}
