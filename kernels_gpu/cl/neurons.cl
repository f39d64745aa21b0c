// Neurons of 4 or 8 BITS (docs/format.md, F57): blocks of 128 values in four groups. A line is 16 words, a lane has one.
#define BLOCK (16 * BITS)
// Words of `listed` before the first number.
#define LISTED 16
// What is taken off the numbers.
#define ZERO (BITS == 4 ? 8 : 0)
