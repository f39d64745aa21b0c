// Numbers and bools to another type. SOURCE and TARGET are numbers of CAST_TYPES. Floats saturate into integers and NaN
// becomes 0, integers keep their low bits, what is not 0 is true. A work-item is one value.
#define FLOAT 0
#define INT64 1
#define BOOL 5
#if SOURCE == 0
typedef float source_t;
#elif SOURCE == 1
typedef long source_t;
#elif SOURCE == 2
typedef int source_t;
#elif SOURCE == 4
typedef char source_t;
#else
typedef uchar source_t;
#endif
#if TARGET == 0
typedef float target_t;
#define FROM_FLOAT(v) (v)
#elif TARGET == 1
typedef long target_t;
#define FROM_FLOAT convert_long_sat_rtz
#elif TARGET == 2
typedef int target_t;
#define FROM_FLOAT convert_int_sat_rtz
#elif TARGET == 4
typedef char target_t;
#define FROM_FLOAT convert_char_sat_rtz
#else
typedef uchar target_t;
#define FROM_FLOAT convert_uchar_sat_rtz
#endif

KERNEL(cast_row) {
    OPERANDS
    const int i = get_global_id(0);
    if (i >= p.count) return;
    const source_t v = ((const __global source_t *)x)[i];
    __global target_t *const to = (__global target_t *)y + i;
#if TARGET == BOOL
    *to = v != 0;
#elif SOURCE == FLOAT && TARGET != FLOAT
    *to = isnan(v) ? (target_t)0 : FROM_FLOAT(v);
#else
    *to = (target_t)v;
#endif
}
