// Where a row of an operand begins, and its value i: one value may be the whole row.
#define ROW_OF(name) (name + (long)outer * p.name##_stride0 + (long)inner * p.name##_stride1)
#define PLACE_OF(name) (p.name##_spread ? 0 : i)
