// rotary.c: rotary embeddings (Su et al. 2021): pairs of each row turned by given angles. The gradient is
// turned back by the same ones.
#include "grad/records.h"

#define PART_ELEMENTS 16384

typedef struct rotary_state {
    bool neighbours, back;
} rotary_state;

typedef struct turning {
    const nnl_attention_kernels *kernels;
    const rotary_state *state;
    char *y;
    const char *x, *turns;
    size_t rows, length, size, element, step; // row r has turn r % length
    nnl_compute type;
} turning;

static void turn_part(void *arg, size_t part) {
    const turning *j = arg;
    size_t last = (part + 1) * j->step < j->rows ? (part + 1) * j->step : j->rows,
           bytes = j->size * j->element;
    for (size_t row = part * j->step; row < last; row++) {
        j->kernels->rotate[j->type](j->size / 2, j->y + row * bytes, j->x + row * bytes,
                                    j->turns + row % j->length * bytes, j->state->neighbours, j->state->back);
    }
}

// x and turns contiguous, of one native dtype. Returns new, not recorded.
static nnl_tensor *turned(nnl_context *ctx, nnl_tensor *x, nnl_tensor *turns, const rotary_state *state) {
    nnl_tensor *y = nnl_tensor_new(ctx, x->dtype, &x->shape);
    size_t numel = (size_t)nnl_tensor_numel(x);
    if (!y || numel == 0) return y;
    turning j = {.kernels = ctx->kernels->attention,
                 .state = state,
                 .y = nnl_tensor_data(y),
                 .x = nnl_tensor_data(x),
                 .turns = nnl_tensor_data(turns),
                 .length = (size_t)turns->shape.size[0],
                 .size = (size_t)turns->shape.size[1],
                 .element = nnl_dtype_size(x->dtype),
                 .type = nnl_tensor_compute(x)};
    j.rows = numel / j.size;
    j.step = PART_ELEMENTS / j.size > 0 ? PART_ELEMENTS / j.size : 1;
    nnl_pool_try(ctx->pool, (j.rows + j.step - 1) / j.step, turn_part, &j);
    return y;
}

static nnl_status rotate_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);

static const nnl_op rotate_record = {.name = "rotate", .outputs = 1, .backward = rotate_backward};

static nnl_tensor *rotate(nnl_context *ctx, nnl_tensor *x, nnl_tensor *turns, rotary_state state) {
    nnl_tensor *array = nnl_contiguous(ctx, x), *angles = array ? nnl_contiguous(ctx, turns) : NULL;
    nnl_tensor *y = angles ? turned(ctx, array, angles, &state) : NULL;
    nnl_status status = y ? NNL_OK : ctx->status;
    if (y) {
        status = nnl_record(ctx, &(nnl_recording){.op = &rotate_record,
                                                  .n_inputs = 1,
                                                  .inputs = &array,
                                                  .n_outputs = 1,
                                                  .outputs = &y,
                                                  .n_saved = 1,
                                                  .saved = {angles},
                                                  .state = &state,
                                                  .state_size = sizeof state});
    }
    nnl_tensor_release(array);
    nnl_tensor_release(angles);
    if (status == NNL_OK) return y;
    nnl_tensor_release(y);
    return NULL;
}

static nnl_status rotate_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    const rotary_state *s = node->state;
    dx[0] = rotate(ctx, dout[0], nnl_node_saved(node, 0), (rotary_state){s->neighbours, !s->back});
    return dx[0] ? NNL_OK : ctx->status;
}

// Half floats by way of float32.
nnl_tensor *nnl_rotate(nnl_context *ctx, nnl_tensor *x, nnl_tensor *turns, bool neighbours) {
    if (x->dtype == turns->dtype) return rotate(ctx, x, turns, (rotary_state){neighbours, false});
    nnl_tensor *wide = nnl_to(ctx, x, turns->dtype);
    nnl_tensor *y = wide ? rotate(ctx, wide, turns, (rotary_state){neighbours, false}) : NULL;
    nnl_tensor *out = y ? nnl_to(ctx, y, x->dtype) : NULL;
    nnl_tensor_release(wide);
    nnl_tensor_release(y);
    return out;
}
