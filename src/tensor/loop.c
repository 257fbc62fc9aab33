// loop.c: merging dimensions and walking rows.
#include "tensor/loop.h"

// Elements of one part of a walk: some 5 microseconds of simple arithmetic.
#define PART_ELEMENTS 16384

// A large walk is cut into about so many parts: reading ahead starts anew in each. Those of a huge one are no
// longer than some milliseconds, after which it may be asked to stop.
#define PARTS 32
#define MOST_PART_ELEMENTS (64 * PART_ELEMENTS)

typedef struct walk {
    const nnl_loop *loop;
    nnl_row_task *task;
    void *arg;
    int64_t part; // elements of one
} walk;

// Broadcasting: where an operand lacks a dimension, or has size 1 in it, its stride is 0.
static void take_strides(nnl_loop *loop, int k, const nnl_tensor *t, const nnl_shape *shape) {
    int missing = shape->ndim - t->shape.ndim;
    for (int d = 0; d < shape->ndim; d++) {
        bool repeats = d < missing || (t->shape.size[d - missing] == 1 && shape->size[d] != 1);
        loop->stride[k][shape->ndim - 1 - d] = repeats ? 0 : t->stride[d - missing];
    }
}

static void swap_dims(nnl_loop *loop, int a, int b) {
    int64_t size = loop->size[a];
    loop->size[a] = loop->size[b];
    loop->size[b] = size;
    for (int k = 0; k < loop->operands; k++) {
        int64_t stride = loop->stride[k][a];
        loop->stride[k][a] = loop->stride[k][b];
        loop->stride[k][b] = stride;
    }
}

// Innermost first by the strides of the output, so that it is written in the order of memory.
static void sort_dims(nnl_loop *loop) {
    for (int i = 1; i < loop->ndim; i++) {
        for (int j = i; j > 0 && loop->stride[0][j] < loop->stride[0][j - 1]; j--) swap_dims(loop, j, j - 1);
    }
}

static void drop_ones(nnl_loop *loop) {
    int kept = 0;
    for (int d = 0; d < loop->ndim; d++) {
        if (loop->size[d] == 1) continue;
        if (kept != d) swap_dims(loop, kept, d);
        kept++;
    }
    loop->ndim = kept;
}

static bool can_merge(const nnl_loop *loop, int inner, int outer) {
    for (int k = 0; k < loop->operands; k++) {
        if (loop->stride[k][outer] != loop->stride[k][inner] * loop->size[inner]) return false;
    }
    return true;
}

static void merge_dims(nnl_loop *loop) {
    int last = 0;
    for (int d = 1; d < loop->ndim; d++) {
        if (can_merge(loop, last, d)) {
            loop->size[last] *= loop->size[d];
        } else if (++last != d) {
            swap_dims(loop, last, d);
        }
    }
    if (loop->ndim > 0) loop->ndim = last + 1;
}

void nnl_loop_init(nnl_loop *loop, int operands, const nnl_tensor *const *tensors) {
    const nnl_shape *shape = &tensors[0]->shape;
    loop->operands = operands;
    loop->stops = false;
    loop->ndim = shape->ndim;
    loop->numel = nnl_shape_numel(shape);
    for (int d = 0; d < shape->ndim; d++) loop->size[shape->ndim - 1 - d] = shape->size[d];
    for (int k = 0; k < operands; k++) {
        take_strides(loop, k, tensors[k], shape);
        loop->element[k] = nnl_dtype_size(tensors[k]->dtype);
        loop->data[k] = nnl_tensor_data(tensors[k]);
    }
    drop_ones(loop);
    sort_dims(loop);
    merge_dims(loop);
}

// Pointers to the element at a position that is given by its index in the order of the walk.
static void seek(const nnl_loop *loop, int64_t index, int64_t *position, char **data) {
    for (int k = 0; k < loop->operands; k++) data[k] = loop->data[k];
    for (int d = 0; d < loop->ndim; d++) {
        position[d] = index % loop->size[d];
        index /= loop->size[d];
        for (int k = 0; k < loop->operands; k++) {
            data[k] += position[d] * loop->stride[k][d] * (int64_t)loop->element[k];
        }
    }
}

// From the end of a row to the start of the next.
static void next_row(const nnl_loop *loop, int64_t *position, char **data) {
    int64_t done = position[0];
    position[0] = 0;
    for (int k = 0; k < loop->operands; k++) data[k] -= done * loop->stride[k][0] * (int64_t)loop->element[k];
    for (int d = 1; d < loop->ndim; d++) {
        bool wraps = ++position[d] == loop->size[d];
        int64_t steps = wraps ? 1 - loop->size[d] : 1;
        for (int k = 0; k < loop->operands; k++)
            data[k] += steps * loop->stride[k][d] * (int64_t)loop->element[k];
        if (!wraps) return;
        position[d] = 0;
    }
}

static void walk_range(const walk *w, int64_t from, int64_t to) {
    const nnl_loop *loop = w->loop;
    int64_t stride[NNL_LOOP_OPERANDS], position[NNL_MAX_DIMS];
    char *data[NNL_LOOP_OPERANDS];
    for (int k = 0; k < loop->operands; k++) stride[k] = loop->stride[k][0];
    seek(loop, from, position, data);
    while (from < to) {
        int64_t rest = loop->size[0] - position[0];
        int64_t n = rest < to - from ? rest : to - from;
        w->task(w->arg, (size_t)n, data, stride);
        from += n;
        if (from >= to) return;
        for (int k = 0; k < loop->operands; k++) data[k] += n * stride[k] * (int64_t)loop->element[k];
        position[0] += n;
        next_row(loop, position, data);
    }
}

static void walk_part(void *arg, size_t part) {
    const walk *w = arg;
    int64_t from = (int64_t)part * w->part;
    int64_t to = from + w->part < w->loop->numel ? from + w->part : w->loop->numel;
    walk_range(w, from, to);
}

static void single_element(const nnl_loop *loop, nnl_row_task *task, void *arg) {
    int64_t stride[NNL_LOOP_OPERANDS] = {1, 1, 1, 1, 1};
    task(arg, 1, loop->data, stride);
}

static int64_t part_elements(int64_t numel) {
    int64_t part = numel / PARTS / PART_ELEMENTS * PART_ELEMENTS;
    if (part < PART_ELEMENTS) return PART_ELEMENTS;
    return part < MOST_PART_ELEMENTS ? part : MOST_PART_ELEMENTS;
}

void nnl_loop_run(const nnl_loop *loop, nnl_pool *pool, nnl_row_task *task, void *arg) {
    walk w = {loop, task, arg, part_elements(loop->numel)};
    if (loop->numel == 0) return;
    if (loop->ndim == 0) {
        single_element(loop, task, arg);
    } else if (loop->numel < NNL_LOOP_LEAST) {
        walk_range(&w, 0, loop->numel);
    } else {
        size_t parts = (size_t)((loop->numel + w.part - 1) / w.part);
        (loop->stops ? nnl_pool_try : nnl_pool_run)(pool, parts, walk_part, &w);
    }
}
