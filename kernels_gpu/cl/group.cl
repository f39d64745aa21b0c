// Sums and maxima over a group of 64 work-items, for kernels that give each group one row.
// `room` is local memory for ROOM floats; what it holds is forgotten. Every work-item of the group calls.
#define GROUP_ITEMS 64
#define ROOM 72

static inline float group_sum(float value, __local float *room, int item) {
    barrier(CLK_LOCAL_MEM_FENCE);
    room[item] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < 8) {
        float eight = room[8 * item];
        for (int i = 1; i < 8; i++) eight += room[8 * item + i];
        room[GROUP_ITEMS + item] = eight;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    float total = room[GROUP_ITEMS];
    for (int i = 1; i < 8; i++) total += room[GROUP_ITEMS + i];
    return total;
}

static inline float group_max(float value, __local float *room, int item) {
    barrier(CLK_LOCAL_MEM_FENCE);
    room[item] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < 8) {
        float eight = room[8 * item];
        for (int i = 1; i < 8; i++) eight = fmax(eight, room[8 * item + i]);
        room[GROUP_ITEMS + item] = eight;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    float largest = room[GROUP_ITEMS];
    for (int i = 1; i < 8; i++) largest = fmax(largest, room[GROUP_ITEMS + i]);
    return largest;
}
