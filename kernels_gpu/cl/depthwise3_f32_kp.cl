// Depthwise 3x3 with a border of one and stride 1. A work-item is ROWS x WIDE pixels of a plane.
VECTOR_KERNEL(depthwise3_f32_kp) {
    OPERANDS
    const int plane = get_global_id(1), channel = plane % p.channels, height = p.pixels / p.width;
    const window_t window = {height, p.width, height, p.width, 1, 1, p.low, p.high};
    depthwise_block(
        CF32(x + (long)plane * p.x_plane), CF32(w) + 9 * channel, CF32(bias)[channel],
        F32(y + (long)plane * p.y_plane), plane, get_global_id(0), window
    );
}
