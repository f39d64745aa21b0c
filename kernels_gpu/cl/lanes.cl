// LANES work-items (a power of two: the group's dimension 0) reduce a row together, in a group of GROUP. All of the
// group must come here. `room`: ROOM of a local array of GROUP floats.
#define LANE ((int)get_local_id(0))
#define ROOM(array) ((array) + LANES * (int)get_local_id(1))

static inline float plus(float a, float b) { return a + b; }

#define ACROSS_LANES(name, combine)                                               \
    static inline float name(__local float *room, float value) {                  \
        room[LANE] = value;                                                       \
        barrier(CLK_LOCAL_MEM_FENCE);                                             \
        for (int step = LANES / 2; step > 0; step /= 2) {                         \
            if (LANE < step) room[LANE] = combine(room[LANE], room[LANE + step]); \
            barrier(CLK_LOCAL_MEM_FENCE);                                         \
        }                                                                         \
        const float result = room[0];                                             \
        barrier(CLK_LOCAL_MEM_FENCE);                                             \
        return result;                                                            \
    }

ACROSS_LANES(sum_of_lanes, plus)
ACROSS_LANES(largest_of_lanes, larger)
ACROSS_LANES(smallest_of_lanes, smaller)
