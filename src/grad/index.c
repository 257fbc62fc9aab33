// index.c: a tensor as index: positions along the first dimension, or a mask of the first dimensions. Either
// way t is seen as slices along one dimension, of which some are chosen.
#include "grad/records.h"

#include <string.h>

typedef struct choice {
    nnl_tensor *at;  // (n), from 1
    nnl_shape seen;  // t's shape, the mask's dimensions as one
    nnl_shape shape; // of what is chosen
} choice;

static nnl_status check_mask(nnl_context *ctx, const nnl_tensor *t, const nnl_tensor *mask) {
    char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    bool fits = mask->shape.ndim <= t->shape.ndim && mask->shape.ndim > 0;
    for (int d = 0; fits && d < mask->shape.ndim; d++) fits = mask->shape.size[d] == t->shape.size[d];
    if (fits) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "index: a mask of shape %s does not fit a tensor of shape %s",
                    nnl_shape_text(&mask->shape, a), nnl_shape_text(&t->shape, b));
}

static nnl_status choose_where(nnl_context *ctx, const nnl_tensor *t, nnl_tensor *mask, choice *c) {
    if (check_mask(ctx, t, mask) != NNL_OK) return ctx->status;
    c->at = nnl_true_positions(ctx, mask);
    if (!c->at) return ctx->status;
    c->seen = (nnl_shape){.ndim = 1, .size = {nnl_tensor_numel(mask)}};
    c->shape = (nnl_shape){.ndim = 1, .size = {nnl_tensor_numel(c->at)}};
    for (int d = mask->shape.ndim; d < t->shape.ndim; d++) {
        c->seen.size[c->seen.ndim++] = c->shape.size[c->shape.ndim++] = t->shape.size[d];
    }
    return NNL_OK;
}

static nnl_status choose_at(nnl_context *ctx, const nnl_tensor *t, nnl_tensor *key, choice *c) {
    if (t->shape.ndim == 0)
        return nnl_fail(ctx, NNL_ERR_SHAPE, "index: a tensor of no dimensions has no parts");
    if (key->shape.ndim + t->shape.ndim - 1 > NNL_MAX_DIMS) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "index: no more than %d dimensions", NNL_MAX_DIMS);
    }
    c->at = nnl_positions_of(ctx, "index", key);
    if (!c->at) return ctx->status;
    c->seen = t->shape;
    c->shape = key->shape;
    for (int d = 1; d < t->shape.ndim; d++) c->shape.size[c->shape.ndim++] = t->shape.size[d];
    nnl_status status = nnl_check_positions(ctx, "index", c->at, t->shape.size[0]);
    if (status == NNL_OK) return NNL_OK;
    nnl_tensor_release(c->at);
    return status;
}

// To be released: c->at.
static nnl_status choose(nnl_context *ctx, const nnl_tensor *t, nnl_tensor *key, choice *c) {
    return key->dtype == NNL_BOOL ? choose_where(ctx, t, key, c) : choose_at(ctx, t, key, c);
}

// ---- reading

static nnl_tensor *flat(nnl_context *ctx, nnl_tensor *at) {
    return nnl_reshape(ctx, at, &(nnl_shape){.ndim = 1, .size = {nnl_tensor_numel(at)}});
}

nnl_tensor *nnl_index_get(nnl_context *ctx, nnl_tensor *t, nnl_tensor *key) {
    choice c;
    if (choose(ctx, t, key, &c) != NNL_OK) return NULL;
    nnl_tensor *list = flat(ctx, c.at), *seen = list ? nnl_reshape(ctx, t, &c.seen) : NULL;
    nnl_tensor *slices = seen ? nnl_index_select(ctx, seen, 0, list) : NULL;
    nnl_tensor *out = slices ? nnl_reshape(ctx, slices, &c.shape) : NULL;
    nnl_tensor *made[] = {c.at, list, seen, slices};
    for (int k = 0; k < 4; k++) nnl_tensor_release(made[k]);
    return out;
}

// ---- writing

// Slice i of values, as contiguous as x, becomes slice at[i] of x; of equal positions the last one counts.
static void put_slices(nnl_tensor *x, int64_t size, const nnl_tensor *at, const nnl_tensor *values) {
    const int64_t *position = nnl_tensor_data(at);
    int64_t n = nnl_tensor_numel(at);
    size_t bytes = (size_t)(size > 0 ? nnl_tensor_numel(x) / size : 0) * nnl_dtype_size(x->dtype);
    char *to = nnl_tensor_data(x);
    const char *from = nnl_tensor_data(values);
    for (int64_t i = 0; i < n && bytes > 0; i++)
        memcpy(to + (size_t)(position[i] - 1) * bytes, from + (size_t)i * bytes, bytes);
}

static nnl_tensor *with_slices(nnl_context *ctx, nnl_tensor *x, nnl_tensor *at, nnl_tensor *values);

// Equal positions all get the gradient of what came there, as in PyTorch.
static nnl_status put_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    nnl_tensor *at = nnl_node_saved(node, 0);
    if (nnl_node_needs(node, 0)) {
        nnl_shape shape = dout[0]->shape;
        shape.size[0] = nnl_tensor_numel(at);
        nnl_tensor *zeros = nnl_tensor_new(ctx, dout[0]->dtype, &shape);
        if (zeros) nnl_try_fill(zeros, nnl_number_int(0));
        dx[0] = zeros ? with_slices(ctx, dout[0], at, zeros) : NULL;
        nnl_tensor_release(zeros);
        if (!dx[0]) return ctx->status;
    }
    if (nnl_node_needs(node, 1)) dx[1] = nnl_index_select(ctx, dout[0], 0, at);
    return nnl_node_needs(node, 1) && !dx[1] ? ctx->status : NNL_OK;
}

static const nnl_op put_record = {.name = "index_put", .outputs = 1, .backward = put_backward};

// A copy of x with the values, contiguous and (positions, rest of x's shape), as its slices at the positions.
static nnl_tensor *with_slices(nnl_context *ctx, nnl_tensor *x, nnl_tensor *at, nnl_tensor *values) {
    nnl_tensor *out = nnl_tensor_new(ctx, x->dtype, &x->shape);
    if (!out) return NULL;
    if (nnl_tensor_numel(x) > 0) nnl_try_copy(out, x);
    put_slices(out, x->shape.size[0], at, values);
    nnl_status status = nnl_record(ctx, &(nnl_recording){.op = &put_record,
                                                         .n_inputs = 2,
                                                         .inputs = (nnl_tensor *const[]){x, values},
                                                         .n_outputs = 1,
                                                         .outputs = &out,
                                                         .n_saved = 1,
                                                         .saved = {at}});
    if (status == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

// The values as with_slices wants them: t's dtype, one slice for each position. Returns new.
static nnl_tensor *fitted(nnl_context *ctx, const nnl_tensor *t, nnl_tensor *values, const choice *c) {
    char from[NNL_SHAPE_TEXT], to[NNL_SHAPE_TEXT];
    nnl_shape rows = c->seen;
    rows.size[0] = nnl_tensor_numel(c->at);
    if (!nnl_shape_broadcasts_to(&values->shape, &c->shape)) {
        return nnl_fail_null(ctx, NNL_ERR_SHAPE,
                             "index: values of shape %s do not fit the chosen part of shape %s",
                             nnl_shape_text(&values->shape, from), nnl_shape_text(&c->shape, to));
    }
    nnl_tensor *same = nnl_to(ctx, values, t->dtype), *wide = same ? nnl_expand(ctx, same, &c->shape) : NULL;
    nnl_tensor *listed = wide ? nnl_reshape(ctx, wide, &rows) : NULL;
    nnl_tensor *whole = listed ? nnl_contiguous(ctx, listed) : NULL;
    nnl_tensor *made[] = {same, wide, listed};
    for (int k = 0; k < 3; k++) nnl_tensor_release(made[k]);
    return whole;
}

static nnl_status put_recorded(nnl_context *ctx, nnl_tensor *t, const choice *c, nnl_tensor *values) {
    nnl_tensor *seen = nnl_reshape(ctx, t, &c->seen);
    nnl_tensor *result = seen ? with_slices(ctx, seen, c->at, values) : NULL;
    nnl_tensor *whole = result ? nnl_reshape(ctx, result, &t->shape) : NULL;
    nnl_tensor_release(seen);
    nnl_tensor_release(result);
    nnl_status status = whole ? nnl_write(ctx, t, whole) : ctx->status;
    nnl_tensor_release(whole);
    return status;
}

static nnl_status put_chosen(nnl_context *ctx, nnl_tensor *t, const choice *c, nnl_tensor *values) {
    bool wanted = nnl_grad_wanted(ctx, (nnl_tensor *const[]){t, values}, 2);
    if (nnl_check_in_place(ctx, "index", t, wanted) != NNL_OK) return ctx->status;
    nnl_tensor *slices = fitted(ctx, t, values, c), *source = slices ? nnl_apart(ctx, t, slices) : NULL;
    nnl_status status = source ? NNL_OK : ctx->status;
    if (source && (wanted || !nnl_tensor_is_contiguous(t))) {
        status = put_recorded(ctx, t, c, wanted ? slices : source);
    } else if (source) {
        put_slices(t, c->seen.size[0], c->at, source);
        nnl_tensor_changed(t);
    }
    nnl_tensor_release(slices);
    nnl_tensor_release(source);
    return status;
}

nnl_status nnl_index_put(nnl_context *ctx, nnl_tensor *t, nnl_tensor *key, nnl_tensor *values) {
    choice c;
    if (choose(ctx, t, key, &c) != NNL_OK) return ctx->status;
    nnl_status status = put_chosen(ctx, t, &c, values);
    nnl_tensor_release(c.at);
    return status;
}
