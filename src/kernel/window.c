// window.c: laying out and filling windows.
#include "kernel/window.h"

#include <string.h>

// Memory that is a multiple of this apart falls onto the same lines of the first-level cache.
#define ALIASING 1024

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
static size_t at_least_0(ptrdiff_t n) { return n > 0 ? (size_t)n : 0; }

static size_t stored_columns(const nnl_window *w) { return w->columns + w->reach[1] / w->step[1]; }
static size_t stored_rows(const nnl_window *w) { return w->rows + w->reach[0] / w->step[0]; }

// Columns of zeros that are at once the right end of one row and the left end of the next.
static size_t shared_zeros(const nnl_window *w) {
    size_t step = w->step[1], left = at_least_0(-w->first[1]) / step;
    size_t data = (at_least_0((ptrdiff_t)w->size[1] - w->first[1]) + step - 1) / step,
           all = stored_columns(w);
    size_t right = all > data ? all - data : 0;
    return left < right ? left : right;
}

void nnl_window_layout(nnl_window *w, size_t lanes) {
    size_t columns = stored_columns(w);
    w->pitch = columns - shared_zeros(w);
    w->plane = round_up((stored_rows(w) - 1) * w->pitch + columns + lanes, lanes);
    if (w->plane % ALIASING == 0) w->plane += lanes;
    w->elements = w->channels * w->step[0] * w->step[1] * w->plane;
}

size_t nnl_window_offset(const nnl_window *w, size_t channel, size_t row, size_t column) {
    size_t phase = (channel * w->step[0] + row % w->step[0]) * w->step[1] + column % w->step[1];
    return phase * w->plane + row / w->step[0] * w->pitch + column / w->step[1];
}

// Which of `count` pixels, the first at `first` and the others `step` apart, lie within the image.
typedef struct span {
    size_t from, to;
} span;

static span inside(ptrdiff_t first, size_t step, size_t count, size_t size) {
    ptrdiff_t s = (ptrdiff_t)step;
    size_t from = at_least_0((-first + s - 1) / s), to = at_least_0(((ptrdiff_t)size - first + s - 1) / s);
    if (first >= 0) from = 0;
    if (to > count) to = count;
    return (span){from < to ? from : to, to};
}

static bool phase_seen(const nnl_window *w, int d, size_t phase) {
    for (size_t pixel = phase; pixel <= w->reach[d]; pixel += w->step[d])
        if (pixel % w->dilation[d] == 0) return true;
    return false;
}

// One phase of all channels; `row`, `column`: the first pixel it holds.
static void fill_phase(const nnl_window *w, nnl_window_copy copy, const char *image, ptrdiff_t row,
                       ptrdiff_t column, size_t rows, char *out) {
    span down = inside(row, w->step[0], rows + w->reach[0] / w->step[0], w->size[0]);
    span across = inside(column, w->step[1], stored_columns(w), w->size[1]);
    bool empty = down.from == down.to || across.from == across.to;
    ptrdiff_t y = row + (ptrdiff_t)(down.from * w->step[0]),
              x = column + (ptrdiff_t)(across.from * w->step[1]);
    if (!empty) image += ((size_t)y * w->size[1] + (size_t)x) * copy.element;
    size_t to = (down.from * w->pitch + across.from) * copy.kept,
           next = w->size[0] * w->size[1] * copy.element;
    for (size_t channel = 0; channel < w->channels; channel++, image += next) {
        memset(out, 0, w->plane * copy.kept);
        if (!empty)
            copy.rows(down.to - down.from, across.to - across.from, out + to, w->pitch, 1, image,
                      w->step[0] * w->size[1], w->step[1]);
        out += w->step[0] * w->step[1] * w->plane * copy.kept;
    }
}

void nnl_window_fill(const nnl_window *w, nnl_window_copy copy, const void *image, size_t from, size_t rows,
                     void *out) {
    for (size_t a = 0; a < w->step[0]; a++) {
        for (size_t b = 0; b < w->step[1]; b++) {
            if (!phase_seen(w, 0, a) || !phase_seen(w, 1, b)) continue;
            fill_phase(w, copy, image, w->first[0] + (ptrdiff_t)(from * w->step[0] + a),
                       w->first[1] + (ptrdiff_t)b, rows,
                       (char *)out + (a * w->step[1] + b) * w->plane * copy.kept);
        }
    }
}
