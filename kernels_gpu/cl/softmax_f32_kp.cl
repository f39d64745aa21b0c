// Softmax or LogSoftmax over the channels of each pixel: a work-item is a pixel.
KERNEL(softmax_f32_kp) {
    OPERANDS
    const int pixel = get_global_id(0), image = get_global_id(1), plane = p.plane / 4;
    if (pixel >= plane || image >= p.batch) return;
    const long at = (long)image * p.channels * plane + pixel;
    const __global float *const from = CF32(x) + at;
    __global float *const to = F32(y) + at;
    float top = from[0];
    for (int c = 1; c < p.channels; c++) top = larger(top, from[(long)c * plane]);
    float total = 0.0f;
    for (int c = 0; c < p.channels; c++) {
        const float e = exp(from[(long)c * plane] - top);
        total += e;
        if (!p.logarithm) to[(long)c * plane] = e;
    }
    const float lost = top + log(total);
    for (int c = 0; c < p.channels; c++) {
        const long i = (long)c * plane;
        to[i] = p.logarithm ? from[i] - lost : to[i] / total;
    }
}
