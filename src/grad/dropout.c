// dropout.c: elements set to 0 at random (Srivastava et al. 2014). The mask, one byte an element, is what
// backward keeps.
#include "grad/records.h"

#include <math.h>

// A multiple of the elements in a block of random words.
#define PART_ELEMENTS 65536

typedef struct dropout_state {
    double scale;
} dropout_state;

typedef struct masking {
    nnl_mask_fn *kernel;
    double scale;
    size_t numel, element;
    void *y;
    const void *x;
    const uint8_t *mask;
} masking;

static size_t part_size(size_t numel, size_t from) {
    return numel - from < PART_ELEMENTS ? numel - from : PART_ELEMENTS;
}

static void mask_part(void *arg, size_t part) {
    const masking *m = arg;
    size_t from = part * PART_ELEMENTS, n = part_size(m->numel, from);
    size_t start = from * m->element;
    m->kernel(n, (char *)m->y + start, (const char *)m->x + start, m->mask + from, m->scale);
}

static nnl_status dropout_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                   nnl_tensor **dx);

static const nnl_op dropout_record = {.name = "dropout", .outputs = 1, .backward = dropout_backward};

// y = x * mask * scale, recorded; x contiguous, of a native dtype.
static nnl_tensor *masked(nnl_context *ctx, nnl_tensor *x, nnl_tensor *mask, double scale) {
    nnl_tensor *y = nnl_tensor_new(ctx, x->dtype, &x->shape);
    if (!y) return NULL;
    masking m = {.kernel = ctx->kernels->random->mask[nnl_tensor_compute(x)],
                 .element = nnl_dtype_size(x->dtype),
                 .scale = scale,
                 .numel = (size_t)nnl_tensor_numel(x),
                 .y = nnl_tensor_data(y),
                 .x = nnl_tensor_data(x),
                 .mask = nnl_tensor_data(mask)};
    nnl_pool_try(ctx->pool, (m.numel + PART_ELEMENTS - 1) / PART_ELEMENTS, mask_part, &m);
    dropout_state state = {scale};
    nnl_status status = nnl_record(ctx, &(nnl_recording){.op = &dropout_record,
                                                         .n_inputs = 1,
                                                         .inputs = &x,
                                                         .n_outputs = 1,
                                                         .outputs = &y,
                                                         .n_saved = 1,
                                                         .saved = {mask},
                                                         .state = &state,
                                                         .state_size = sizeof state});
    if (status == NNL_OK) return y;
    nnl_tensor_release(y);
    return NULL;
}

// dx = dout * mask * scale
static nnl_status dropout_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                   nnl_tensor **dx) {
    const dropout_state *state = node->state;
    nnl_tensor *whole = nnl_contiguous(ctx, dout[0]);
    if (!whole) return ctx->status;
    dx[0] = masked(ctx, whole, nnl_node_saved(node, 0), state->scale);
    nnl_tensor_release(whole);
    return dx[0] ? NNL_OK : ctx->status;
}

typedef struct drawing {
    const nnl_context *ctx;
    uint8_t *mask;
    size_t numel;
    uint64_t block;
    double keep;
} drawing;

static void draw_part(void *arg, size_t part) {
    const drawing *d = arg;
    size_t from = part * PART_ELEMENTS;
    d->ctx->kernels->random->bernoulli(part_size(d->numel, from), d->mask + from, d->ctx->random.seed,
                                       d->block + from / 4, d->keep);
}

static nnl_tensor *draw_mask(nnl_context *ctx, const nnl_shape *shape, double keep) {
    nnl_tensor *mask = nnl_tensor_new(ctx, NNL_BOOL, shape);
    if (!mask) return NULL;
    size_t numel = (size_t)nnl_tensor_numel(mask);
    drawing d = {ctx, nnl_tensor_data(mask), numel, nnl_random_reserve(&ctx->random, numel), keep};
    nnl_pool_try(ctx->pool, (numel + PART_ELEMENTS - 1) / PART_ELEMENTS, draw_part, &d);
    return mask;
}

nnl_tensor *nnl_dropout(nnl_context *ctx, nnl_tensor *x, double p) {
    if (!nnl_dtype_is_float(x->dtype)) {
        return nnl_fail_null(ctx, NNL_ERR_DTYPE, "dropout: expected a tensor of a float dtype, got \"%s\"",
                             nnl_dtype_get(x->dtype)->name);
    }
    if (!(p >= 0 && p <= 1)) {
        return nnl_fail_null(ctx, NNL_ERR_ARGUMENT, "dropout: p must be between 0 and 1, got %.14g", p);
    }
    nnl_tensor *whole = nnl_array(ctx, x);
    nnl_tensor *mask = whole ? draw_mask(ctx, &x->shape, 1 - p) : NULL;
    nnl_tensor *y = mask ? masked(ctx, whole, mask, p < 1 ? 1 / (1 - p) : 0) : NULL;
    nnl_tensor_release(mask);
    nnl_tensor_release(whole);
    if (!y || y->dtype == x->dtype) return y;
    nnl_tensor *back = nnl_to(ctx, y, x->dtype);
    nnl_tensor_release(y);
    return back;
}

nnl_tensor *nnl_dropout_channels(nnl_context *ctx, const char *who, nnl_tensor *x, double p) {
    char text[NNL_SHAPE_TEXT];
    nnl_shape shape = x->shape;
    if (shape.ndim < 2 || !nnl_dtype_is_float(x->dtype)) {
        return nnl_fail_null(ctx, NNL_ERR_SHAPE,
                             "%s: expected a float tensor (N, C, ...), got \"%s\" of shape %s", who,
                             nnl_dtype_get(x->dtype)->name, nnl_shape_text(&shape, text));
    }
    for (int d = 2; d < shape.ndim; d++) shape.size[d] = 1;
    nnl_tensor *ones = nnl_tensor_new(ctx, x->dtype, &shape);
    if (!ones) return NULL;
    nnl_try_fill(ones, nnl_number_float(1));
    nnl_tensor *kept = nnl_dropout(ctx, ones, p), *y = kept ? nnl_mul(ctx, x, kept) : NULL;
    nnl_tensor_release(ones);
    nnl_tensor_release(kept);
    return y;
}

static nnl_status dropout_channels_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    call->out[0] = call->arg[2].flag ? nnl_dropout_channels(ctx, call->op->name, x, call->arg[1].number.d)
                                     : nnl_tensor_retain(x);
    return call->out[0] ? NNL_OK : ctx->status;
}

static nnl_status dropout_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    bool active = call->arg[2].flag;
    call->out[0] = active ? nnl_dropout(ctx, x, call->arg[1].number.d) : nnl_tensor_retain(x);
    return call->out[0] ? NNL_OK : ctx->status;
}

#define DROPOUT(n, text, go)                                                                                 \
    {                                                                                                        \
        .name = n, .doc = text, .flags = NNL_OP_FUNCTIONAL, .outputs = 1,                                    \
        .params = {{"input", NNL_ARG_TENSOR, false, 0, NULL},                                                \
                   {"p", NNL_ARG_NUMBER, true, 0.5, NULL},                                                   \
                   {"training", NNL_ARG_BOOL, true, 1, NULL}},                                               \
        .forward = go                                                                                        \
    }

const nnl_op nnl_dropout_records[] = {
    DROPOUT("dropout",
            "each element 0 with probability p, else divided by 1 - p; x itself where not training",
            dropout_forward),
    DROPOUT("dropout2d", "the same for whole channels of (N, C, ...)", dropout_channels_forward),
    {.name = NULL},
};
