// The mean of every channel of k4p by exact sums. A group is a plane of four channels: its work-items take pixels in
// turn, and the first one of them adds up.
KERNEL(pool_global_average_q8_k4p) {
    OPERANDS
    __local int4 sums[GROUP];
    const int lane = get_local_id(0), plane = get_global_id(1);
    const __global uint *const from = CU32(x + (long)plane * p.x_plane);
    int4 sum = (int4)(0);
    for (int i = lane; i < p.pixels; i += GROUP) sum += act4(from[i]);
    sums[lane] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane != 0) return;
    for (int i = 1; i < GROUP; i++) sum += sums[i];
    const int image = plane / p.groups, group = plane - image * p.groups;
    const float4 mean = convert_float4(sum - p.total_zero) * p.multiplier;
    const uint word = pack4(requantize4(mean, p.zero_point, p.low, p.high)) ^ (uint)(p.flip & 255) * 0x01010101u;
    store_first4(y + (long)image * p.y_image + group * p.y_plane, as_uchar4(word), p.channels - 4 * group);
}
