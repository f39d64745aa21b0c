// Number i of those at `indices`, int64 if `wide`, else int32: negative ones count from the end; none reaches out of
// the `table` rows.
static inline int row_number(__global const uchar *indices, int i, int wide, int table) {
    const long given = wide ? ((__global const long *)indices)[i] : CI32(indices)[i];
    return (int)clamp(given + (given < 0 ? table : 0), 0L, (long)table - 1L);
}
