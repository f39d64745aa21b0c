// What every twin may use. Put before it: constants (ACT_SIGNED, HAS_*, the twin's own); put after it: the record as
//   params_t        the params of the CPU kernel's record, int or float, in their order
//   KERNEL(name)    the head of a kernel: for each operand its buffer and where in it, then `params_t p`
//   OPERANDS        first line of its body: one `__global uchar *` per operand by its name, null if it is absent
// Sums of floats are contracted nowhere but where a source says FMA, so devices agree with each other and the CPU.

#pragma OPENCL FP_CONTRACT OFF
#if HAS_FP16
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#endif
#if HAS_INTEGER_DOT
#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable
#endif
#if HAS_SUBGROUPS && __OPENCL_VERSION__ < 300
#pragma OPENCL EXTENSION cl_khr_subgroups : enable
#endif

#define ABSENT ((ulong)-1)

// ---- memory by type: F32(x)[i]
#define F32(x) ((__global float *)(x))
#define I32(x) ((__global int *)(x))
#define U32(x) ((__global uint *)(x))
#define I16(x) ((__global short *)(x))
#define U16(x) ((__global ushort *)(x))
#define I8(x) ((__global char *)(x))
#define U8(x) ((__global uchar *)(x))
#define CF32(x) ((__global const float *)(x))
#define CI32(x) ((__global const int *)(x))
#define CU32(x) ((__global const uint *)(x))
#define CI16(x) ((__global const short *)(x))
#define CU16(x) ((__global const ushort *)(x))
#define CI8(x) ((__global const char *)(x))
#define CU8(x) ((__global const uchar *)(x))

// Halves in memory, float32 in registers; needs no fp16. Stores round half to even.
#define LOAD_HALF(x, i) vload_half((i), (__global const half *)(x))
#define LOAD_HALF4(x, i) vload_half4((i), (__global const half *)(x))
#define LOAD_HALF8(x, i) vload_half8((i), (__global const half *)(x))
#define LOAD_HALF16(x, i) vload_half16((i), (__global const half *)(x))
#define STORE_HALF(v, x, i) vstore_half_rte((v), (i), (__global half *)(x))

// ---- arithmetic
// One rounding where the device has it in one instruction, else two: only where a tolerance allows either.
#if HAS_FMA
#define FMA(a, b, c) fma((a), (b), (c))
#else
#define FMA(a, b, c) mad((a), (b), (c))
#endif

static inline int divide_up(int a, int b) { return (a + b - 1) / b; }

// How many of the planned rows this run has.
static inline int present_rows(__global const uchar *rows_at, int rows) {
    return rows_at ? clamp(*CI32(rows_at), 0, rows) : rows;
}

// ---- bytes: activations of k4p are held as value - 128 where ACT_SIGNED, and kernels see only numbers
#if ACT_SIGNED
typedef char act_t;
typedef char4 act4_t;
#define AS_ACT4(word) as_char4(word)
#define ACT_LOW (-128)
#define ACT_HIGH 127
#else
typedef uchar act_t;
typedef uchar4 act4_t;
#define AS_ACT4(word) as_uchar4(word)
#define ACT_LOW 0
#define ACT_HIGH 255
#endif

// Four numbers of a word of activations, and of a word of signed bytes.
static inline int4 act4(uint word) { return convert_int4(AS_ACT4(word)); }
static inline int4 signed4(uint word) { return convert_int4(as_char4(word)); }

static inline uint pack4(int4 v) { return as_uint(convert_uchar4(v & 255)); }

// sum + four products of activations and signed weights; of signed and signed; of unsigned and signed. Exact.
#if HAS_INTEGER_DOT
static inline int dot4_ss(uint a, uint b, int sum) { return sum + dot_4x8packed_ss_int(a, b); }
static inline int dot4_us(uint a, uint b, int sum) { return sum + dot_4x8packed_us_int(a, b); }
#else
static inline int dot4_of(int4 a, int4 b, int sum) { return sum + a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }
static inline int dot4_ss(uint a, uint b, int sum) { return dot4_of(signed4(a), signed4(b), sum); }
static inline int dot4_us(uint a, uint b, int sum) {
    return dot4_of(convert_int4(as_uchar4(a)), signed4(b), sum);
}
#endif
#if ACT_SIGNED
#define dot4(a, b, sum) dot4_ss((a), (b), (sum))
#else
#define dot4(a, b, sum) dot4_us((a), (b), (sum))
#endif

// Scaled sums to activations: saturate(round_half_even(v) + zero_point), then between low and high, which are held
// as activations are. Source: reference/quantization.py (ONNX QuantizeLinear).
static inline int requantize(float v, int zero_point, int low, int high) {
    const int rounded = convert_int_rte(clamp(v, -65536.0f, 65536.0f));
    return clamp(clamp(rounded + zero_point, ACT_LOW, ACT_HIGH), low, high);
}

static inline int4 requantize4(float4 v, int zero_point, int low, int high) {
    const int4 rounded = convert_int4_rte(clamp(v, (float4)(-65536.0f), (float4)(65536.0f)));
    return clamp(clamp(rounded + zero_point, (int4)(ACT_LOW), (int4)(ACT_HIGH)), (int4)(low), (int4)(high));
}
