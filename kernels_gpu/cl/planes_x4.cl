// Padding and phase split: cells of four bytes to stride x stride planes with their border in place, so that each
// filter tap is a plain offset. A work-item is one cell of the result; the second dimension counts channel planes.
KERNEL(planes_x4) {
    OPERANDS
    const int cell = get_global_id(0), plane = get_global_id(1);
    const int phase_cells = p.rows * p.columns, phase = cell / phase_cells, inside = cell - phase * phase_cells;
    if (phase >= p.stride_h * p.stride_w) return;
    const int r = inside / p.columns, c = inside - r * p.columns, down = phase / p.stride_w;
    const int row = r * p.stride_h + down - p.top, column = c * p.stride_w + (phase - down * p.stride_w) - p.left;
    uint value = (uint)p.border;
    if (row >= 0 && row < p.height && column >= 0 && column < p.width)
        value = CU32(x + (long)plane * p.x_plane)[row * p.width + column];
    U32(y + (long)plane * p.y_plane)[cell] = value;
}
