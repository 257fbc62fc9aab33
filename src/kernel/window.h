// window.h: a stretch of rows of some channels, copied with its zeros around it so that what a kernel's tap
// sees from any place is a fixed number of elements away. With a stride the pixels lie apart by their
// remainder, in phases, so that places in a row are neighbours in memory.
#ifndef NNL_KERNEL_WINDOW_H
#define NNL_KERNEL_WINDOW_H

#include "kernel/kernel.h"

typedef struct nnl_window {
    size_t channels, size[2]; // of the image
    ptrdiff_t first[2];       // the row and column that place 0's first tap sees; before 0 there are zeros
    size_t reach[2];          // from a place's first tap to its last, in pixels
    size_t step[2];           // pixels from one place to the next
    size_t dilation[2];       // pixels between taps: phases that no tap sees stay empty
    size_t rows, columns;     // places, at most
    size_t pitch, plane;      // elements from one row of a phase to the next, from one phase to the next
    size_t elements;          // of all
} nnl_window;

// Fills in the last three. Stretches of `lanes` places may begin at any place.
void nnl_window_layout(nnl_window *w, size_t lanes);

// How far the tap, `row` and `column` pixels after the first, is from the place itself.
size_t nnl_window_offset(const nnl_window *w, size_t channel, size_t row, size_t column);

// How a window takes pixels over: the bytes of one in the image and in the window.
typedef struct nnl_window_copy {
    nnl_copy_rows_fn *rows;
    size_t element, kept;
} nnl_window_copy;

// The pixels seen from `rows` places, the first in row `from`. `image`: the first channel; they are size[0] *
// size[1] apart.
void nnl_window_fill(const nnl_window *w, nnl_window_copy copy, const void *image, size_t from, size_t rows,
                     void *out);

#endif
