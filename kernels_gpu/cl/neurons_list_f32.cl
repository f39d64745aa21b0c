// The numbers of the neurons that are marked, ascending, behind how many they are (an int32, in 64 bytes). One group: a
// work-item counts a range of neurons, and writes its own behind those of the ranges before.
#define LISTED 16

KERNEL(neurons_list_f32) {
    OPERANDS
    __local int counts[GROUP];
    const int item = get_local_id(0), each = divide_up(p.width, GROUP);
    const int first = min(p.width, item * each), last = min(p.width, first + each);
    // The bits of a float that is not 0, a NaN as well.
    int own = 0;
    for (int i = first; i < last; i++) own += CI32(any)[i] != 0;
    counts[item] = own;
    barrier(CLK_LOCAL_MEM_FENCE);
    int at = 0, all = 0;
    for (int i = 0; i < GROUP; i++) {
        at += i < item ? counts[i] : 0;
        all += counts[i];
    }
    for (int i = first; i < last; i++)
        if (CI32(any)[i] != 0) I32(listed)[LISTED + at++] = i;
    if (item == 0) I32(listed)[0] = all;
}
