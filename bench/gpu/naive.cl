// Straightforward kernels: a work-item makes one element of the output, everything is read where it lies, in the order in
// which ONNX has it. No tiles, no vectors, no local memory. A pointer may be null: no bias, no residual.
#pragma OPENCL FP_CONTRACT OFF

// ---- networks, float32 [channels][height][width]
__kernel void conv_f32(
    __global const float *x, __global const float *w, __global const float *bias, __global const float *residual,
    __global float *y, int height, int width, int channels, int filters, int rows, int columns, int down, int across,
    int above, int left, float low, float high) {
    const int j = get_global_id(0), i = get_global_id(1), n = get_global_id(2);
    const int at = (n * (int)get_global_size(1) + i) * (int)get_global_size(0) + j;
    const int first = n / filters * channels;  // of the group
    float sum = bias ? bias[n] : 0.0f;
    for (int c = 0; c < channels; c++)
        for (int r = 0; r < rows; r++)
            for (int s = 0; s < columns; s++) {
                const int h = i * down - above + r, v = j * across - left + s;
                if (h >= 0 && h < height && v >= 0 && v < width)
                    sum += x[((first + c) * height + h) * width + v] * w[((n * channels + c) * rows + r) * columns + s];
            }
    if (residual) sum += residual[at];
    y[at] = clamp(sum, low, high);
}

__kernel void average_f32(__global const float *x, __global float *y, int size) {
    const int c = get_global_id(0);
    float sum = 0.0f;
    for (int i = 0; i < size; i++) sum += x[c * size + i];
    y[c] = sum / size;
}

__kernel void gemm_f32(
    __global const float *x, __global const float *w, __global const float *bias, __global const float *residual,
    __global float *y, int depth, float low, float high) {
    const int n = get_global_id(0), t = get_global_id(1), at = t * (int)get_global_size(0) + n;
    float sum = bias ? bias[n] : 0.0f;
    for (int k = 0; k < depth; k++) sum += x[t * depth + k] * w[n * depth + k];
    if (residual) sum += residual[at];
    y[at] = clamp(sum, low, high);
}

// ---- the same in bytes: uint8 activations, int8 weights, a scale for every channel
uchar stored(int sum, float scale, int zero, int low, int high, float more) {
    return clamp((int)rint((float)sum * scale + more) + zero, low, high);
}

__kernel void conv_u8(
    __global const uchar *x, __global const char *w, __global const int *bias, __global const uchar *residual,
    __global uchar *y, int height, int width, int channels, int filters, int rows, int columns, int down, int across,
    int above, int left, __global const float *scale, int zero_x, int zero, int low, int high, int zero_r, float scale_r) {
    const int j = get_global_id(0), i = get_global_id(1), n = get_global_id(2);
    const int at = (n * (int)get_global_size(1) + i) * (int)get_global_size(0) + j;
    const int first = n / filters * channels;
    int sum = bias ? bias[n] : 0;
    for (int c = 0; c < channels; c++)
        for (int r = 0; r < rows; r++)
            for (int s = 0; s < columns; s++) {
                const int h = i * down - above + r, v = j * across - left + s;
                if (h >= 0 && h < height && v >= 0 && v < width)
                    sum += (x[((first + c) * height + h) * width + v] - zero_x) *
                           w[((n * channels + c) * rows + r) * columns + s];
            }
    y[at] = stored(sum, scale[n], zero, low, high, residual ? (residual[at] - zero_r) * scale_r : 0.0f);
}

__kernel void average_u8(
    __global const uchar *x, __global uchar *y, int size, float scale, int zero_x, int zero, int low, int high) {
    const int c = get_global_id(0);
    int sum = 0;
    for (int i = 0; i < size; i++) sum += x[c * size + i] - zero_x;
    y[c] = stored(sum, scale, zero, low, high, 0.0f);
}

__kernel void gemm_u8(
    __global const uchar *x, __global const char *w, __global const int *bias, __global uchar *y, int depth,
    __global const float *scale, int zero_x, int zero, int low, int high) {
    const int n = get_global_id(0);
    int sum = bias ? bias[n] : 0;
    for (int k = 0; k < depth; k++) sum += (x[k] - zero_x) * w[n * depth + k];
    y[n] = stored(sum, scale[n], zero, low, high, 0.0f);
}

__kernel void quantize(__global const float *x, __global uchar *y, float scale, int zero) {
    const int i = get_global_id(0);
    y[i] = clamp((int)rint(x[i] / scale) + zero, 0, 255);
}

__kernel void dequantize(__global const uchar *x, __global float *y, float scale, int zero) {
    const int i = get_global_id(0);
    y[i] = (x[i] - zero) * scale;
}

// ---- language models, one token: float32 activations, weights in groups of 32 with a float16 scale
__kernel void gather_q8g(
    __global const char *table, __global const half *scale, __global const int *token, __global float *y, int depth) {
    const int k = get_global_id(0), at = token[0] * depth + k;
    y[k] = table[at] * vload_half(at / 32, scale);
}

__kernel void matvec_q8g(
    __global const float *x, __global const char *w, __global const half *scale, __global const float *residual,
    __global float *y, int depth) {
    const int n = get_global_id(0);
    float sum = 0.0f;
    for (int k = 0; k < depth; k++) sum += x[k] * (w[n * depth + k] * vload_half((n * depth + k) / 32, scale));
    y[n] = residual ? sum + residual[n] : sum;
}

// Two weights in a byte, the first one low; a weight is scale * (number - 8).
__kernel void matvec_q4(
    __global const float *x, __global const uchar *w, __global const half *scale, __global const float *residual,
    __global float *y, int depth) {
    const int n = get_global_id(0);
    float sum = 0.0f;
    for (int k = 0; k < depth; k += 2) {
        const int two = w[(n * depth + k) / 2];
        const float s = vload_half((n * depth + k) / 32, scale);
        sum += x[k] * (s * ((two & 15) - 8)) + x[k + 1] * (s * ((two >> 4) - 8));
    }
    y[n] = residual ? sum + residual[n] : sum;
}

__kernel void rms_norm(__global const float *x, __global const float *weight, __global float *y, int depth, float epsilon) {
    const int k = get_global_id(0);
    float sum = 0.0f;
    for (int i = 0; i < depth; i++) sum += x[i] * x[i];
    y[k] = x[k] / sqrt(sum / depth + epsilon) * weight[k];
}

__kernel void silu_times(__global const float *x, __global float *y, int width) {
    const int i = get_global_id(0);
    y[i] = x[i] / (1.0f + exp(-x[i])) * x[width + i];
}

// An element of qkv [heads + 2 * kv_heads][depth]: queries and keys turned by their position, keys and values put into
// the cache [kv_heads][context][depth].
__kernel void rope(
    __global const float *qkv, __global const int *position, __global const float *inv_freq, __global float *query,
    __global float *keys, __global float *values, int heads, int kv_heads, int context, float scale) {
    const int i = get_global_id(0), head = get_global_id(1), depth = get_global_size(0), half_ = depth / 2;
    const int at = position[0], now = head * depth + i;
    if (head >= heads + kv_heads) {
        values[((head - heads - kv_heads) * context + at) * depth + i] = qkv[now];
        return;
    }
    const float angle = at * inv_freq[i % half_], c = cos(angle), s = sin(angle);
    const float turned = i < half_ ? qkv[now] * c - qkv[now + half_] * s : qkv[now] * c + qkv[now - half_] * s;
    if (head < heads)
        query[now] = turned * scale;
    else
        keys[((head - heads) * context + at) * depth + i] = turned;
}

__kernel void scores(
    __global const float *query, __global const float *keys, __global float *y, int group, int context, int depth) {
    const int s = get_global_id(0), head = get_global_id(1);
    float sum = 0.0f;
    for (int i = 0; i < depth; i++) sum += query[head * depth + i] * keys[(head / group * context + s) * depth + i];
    y[head * context + s] = sum;
}

__kernel void softmax(__global float *x, __global const int *position, int context) {
    __global float *row = x + (int)get_global_id(0) * context;
    const int seen = position[0] + 1;
    float largest = row[0], sum = 0.0f;
    for (int s = 1; s < seen; s++) largest = fmax(largest, row[s]);
    for (int s = 0; s < seen; s++) sum += row[s] = exp(row[s] - largest);
    for (int s = 0; s < seen; s++) row[s] /= sum;
}

__kernel void weighted(
    __global const float *weights, __global const float *values, __global const int *position, __global float *y,
    int group, int context) {
    const int i = get_global_id(0), head = get_global_id(1), depth = get_global_size(0);
    float sum = 0.0f;
    for (int s = 0; s <= position[0]; s++)
        sum += weights[head * context + s] * values[(head / group * context + s) * depth + i];
    y[head * depth + i] = sum;
}
