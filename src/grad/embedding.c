// embedding.c: rows of a table by position, from 1: the first layer of models of text. Its gradient adds rows
// up by position; the gradient of that looks them up again.
#include "grad/records.h"

#include <math.h>
#include <string.h>

// Elements that one part copies, at least; columns that one part adds up.
#define PART_ELEMENTS 65536
#define PART_COLUMNS 64

enum { SAVED_INDEX };

typedef struct lookup_state {
    int64_t rows, padding; // of the table; the row without a gradient
} lookup_state;

// n rows of `width` elements on one side, a table on the other.
typedef struct lookup {
    const nnl_context *ctx;
    const int64_t *at;
    size_t n, width, element, step;
    int64_t padding;
    nnl_compute type;
    const char *from;
    char *to;
} lookup;

static lookup lookup_of(nnl_context *ctx, const nnl_tensor *index, const nnl_tensor *from, nnl_tensor *to) {
    return (lookup){.ctx = ctx,
                    .at = nnl_tensor_data(index),
                    .n = (size_t)nnl_tensor_numel(index),
                    .width = (size_t)from->shape.size[from->shape.ndim - 1],
                    .element = nnl_dtype_size(from->dtype),
                    .type = nnl_tensor_compute(from),
                    .from = nnl_tensor_data(from),
                    .to = nnl_tensor_data(to)};
}

static nnl_status record(nnl_context *ctx, const nnl_op *op, nnl_tensor *input, nnl_tensor *index,
                         nnl_tensor *out, lookup_state state) {
    return nnl_record(ctx, &(nnl_recording){.op = op,
                                            .n_inputs = 1,
                                            .inputs = &input,
                                            .n_outputs = 1,
                                            .outputs = &out,
                                            .n_saved = 1,
                                            .saved = {[SAVED_INDEX] = index},
                                            .state = &state,
                                            .state_size = sizeof state});
}

static nnl_status lookup_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);
static nnl_status sum_rows_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                    nnl_tensor **dx);

static const nnl_op lookup_record = {.name = "embedding", .outputs = 1, .backward = lookup_backward};
static const nnl_op sum_rows_record = {
    .name = "embedding_backward", .outputs = 1, .backward = sum_rows_backward};

// ---- the rows

static void copy_part(void *arg, size_t part) {
    const lookup *l = arg;
    size_t bytes = l->width * l->element, first = part * l->step;
    size_t last = first + l->step < l->n ? first + l->step : l->n;
    for (size_t i = first; i < last; i++) {
        bool blank = l->padding == l->at[i];
        if (blank) memset(l->to + i * bytes, 0, bytes);
        if (!blank) memcpy(l->to + i * bytes, l->from + (size_t)(l->at[i] - 1) * bytes, bytes);
    }
}

// Rows of the table (rows, width) in the shape of the index; 0 for `blank`, if that is a position.
static nnl_tensor *copy_rows(nnl_context *ctx, nnl_tensor *index, nnl_tensor *table, int64_t blank) {
    nnl_shape shape = index->shape;
    shape.size[shape.ndim++] = table->shape.size[1];
    nnl_tensor *whole = nnl_contiguous(ctx, table),
               *out = whole ? nnl_tensor_new(ctx, table->dtype, &shape) : NULL;
    if (out) {
        lookup l = lookup_of(ctx, index, whole, out);
        l.padding = blank;
        l.step = PART_ELEMENTS / (l.width > 0 ? l.width : 1) + 1;
        if (l.width > 0) nnl_pool_try(ctx->pool, (l.n + l.step - 1) / l.step, copy_part, &l);
    }
    nnl_tensor_release(whole);
    return out;
}

static nnl_tensor *look_up(nnl_context *ctx, const nnl_op *op, nnl_tensor *index, nnl_tensor *table,
                           int64_t blank, lookup_state state) {
    nnl_tensor *out = copy_rows(ctx, index, table, blank);
    if (!out || record(ctx, op, table, index, out, state) == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

// ---- the gradient: rows added up by position. Each part adds some columns of all rows, in their order.

static void add_part(void *arg, size_t part) {
    const lookup *l = arg;
    size_t first = part * l->step, columns = l->width - first < l->step ? l->width - first : l->step;
    nnl_binary_fn *add = l->ctx->kernels->elementwise->binary[NNL_BINARY_add][l->type];
    for (size_t i = 0; i < l->n; i++) {
        if (l->at[i] == l->padding) continue;
        char *to = l->to + ((size_t)(l->at[i] - 1) * l->width + first) * l->element;
        add(columns, to, to, l->from + (i * l->width + first) * l->element);
    }
}

// (rows, width) from rows in the shape of the index, floats or doubles.
static nnl_tensor *add_rows(nnl_context *ctx, nnl_tensor *index, const nnl_tensor *dout, lookup_state state) {
    nnl_shape shape = {.ndim = 2, .size = {state.rows, dout->shape.size[dout->shape.ndim - 1]}};
    nnl_tensor *sum = nnl_tensor_new(ctx, dout->dtype, &shape);
    if (!sum) return NULL;
    nnl_try_fill(sum, nnl_number_float(0));
    lookup l = lookup_of(ctx, index, dout, sum);
    l.padding = state.padding;
    l.step = l.n * l.width < PART_ELEMENTS ? l.width : PART_COLUMNS;
    if (l.width > 0) nnl_pool_try(ctx->pool, (l.width + l.step - 1) / l.step, add_part, &l);
    return sum;
}

// Half floats are added up in float32.
static nnl_tensor *sum_rows(nnl_context *ctx, nnl_tensor *index, nnl_tensor *dout, lookup_state state) {
    nnl_dtype dtype = nnl_tensor_compute(dout) == NNL_IN_DOUBLE ? NNL_FLOAT64 : NNL_FLOAT32;
    nnl_tensor *wide = nnl_to(ctx, dout, dtype), *whole = wide ? nnl_contiguous(ctx, wide) : NULL;
    nnl_tensor *sum = whole ? add_rows(ctx, index, whole, state) : NULL;
    nnl_tensor *out = sum ? nnl_to(ctx, sum, dout->dtype) : NULL;
    nnl_tensor_release(wide);
    nnl_tensor_release(whole);
    nnl_tensor_release(sum);
    if (!out || record(ctx, &sum_rows_record, dout, index, out, state) == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

static nnl_status lookup_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    const lookup_state *state = node->state;
    dx[0] = sum_rows(ctx, nnl_node_saved(node, SAVED_INDEX), dout[0], *state);
    return dx[0] ? NNL_OK : ctx->status;
}

static nnl_status sum_rows_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                    nnl_tensor **dx) {
    const lookup_state *state = node->state;
    nnl_tensor *index = nnl_node_saved(node, SAVED_INDEX);
    dx[0] = look_up(ctx, &lookup_record, index, dout[0], state->padding, *state);
    return dx[0] ? NNL_OK : ctx->status;
}

// ---- rows that are too long

static double norm_of(const nnl_tensor *row, double p) {
    double sum = 0;
    const char *data = nnl_tensor_data(row);
    for (int64_t j = 0; j < row->shape.size[0]; j++) {
        const char *at = data + (size_t)(j * row->stride[0]) * nnl_dtype_size(row->dtype);
        double x = fabs(nnl_element_read(row->dtype, at).d);
        sum = isinf(p) ? fmax(sum, x) : sum + pow(x, p);
    }
    return isinf(p) ? sum : pow(sum, 1 / p);
}

static void scale_row(nnl_tensor *row, double factor) {
    char *data = nnl_tensor_data(row);
    for (int64_t j = 0; j < row->shape.size[0]; j++) {
        char *at = data + (size_t)(j * row->stride[0]) * nnl_dtype_size(row->dtype);
        nnl_element_write(row->dtype, at, nnl_number_float(nnl_element_read(row->dtype, at).d * factor));
    }
}

// Rows in use whose norm is above the limit shrink to it, in place and outside the graph.
static nnl_status shorten_rows(nnl_context *ctx, const nnl_tensor *index, nnl_tensor *weight, double most,
                               double p) {
    const int64_t *at = nnl_tensor_data(index);
    nnl_shape shape = {.ndim = 1, .size = {weight->shape.size[1]}};
    nnl_tensor *row = nnl_tensor_alias(weight, &shape, &weight->stride[1], weight->offset);
    if (!row) return ctx->status;
    bool changed = false;
    for (int64_t i = 0, n = nnl_tensor_numel(index); i < n; i++) {
        row->offset = weight->offset + (at[i] - 1) * weight->stride[0];
        double norm = norm_of(row, p);
        if (!(norm > most)) continue;
        scale_row(row, most / (norm + 1e-7));
        changed = true;
    }
    nnl_tensor_release(row);
    if (changed) nnl_tensor_changed(weight);
    return NNL_OK;
}

// ---- the operation

static nnl_status check(nnl_context *ctx, const nnl_tensor *index, const nnl_tensor *weight,
                        const nnl_embedding_options *o) {
    char text[NNL_SHAPE_TEXT];
    if (weight->shape.ndim != 2) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected a weight of shape (rows, features), got %s", o->who,
                        nnl_shape_text(&weight->shape, text));
    }
    if (nnl_dtype_get(index->dtype)->kind != NNL_KIND_INT) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected positions as an int64 tensor, got %s", o->who,
                        nnl_dtype_get(index->dtype)->name);
    }
    if (index->shape.ndim == NNL_MAX_DIMS) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected positions of at most %d dimensions, got %s", o->who,
                        NNL_MAX_DIMS - 1, nnl_shape_text(&index->shape, text));
    }
    if (o->padding != NNL_NO_PADDING && (o->padding < 1 || o->padding > weight->shape.size[0])) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: padding_idx %lld is not within 1 to %lld", o->who,
                        (long long)o->padding, (long long)weight->shape.size[0]);
    }
    return NNL_OK;
}

static nnl_tensor *checked_positions(nnl_context *ctx, nnl_tensor *index, const nnl_tensor *weight,
                                     const char *who) {
    nnl_tensor *at = nnl_to(ctx, index, NNL_INT64), *whole = at ? nnl_contiguous(ctx, at) : NULL;
    nnl_tensor_release(at);
    if (!whole || nnl_check_positions(ctx, who, whole, weight->shape.size[0]) == NNL_OK) return whole;
    nnl_tensor_release(whole);
    return NULL;
}

nnl_tensor *nnl_embedding(nnl_context *ctx, nnl_tensor *index, nnl_tensor *weight,
                          const nnl_embedding_options *o) {
    if (check(ctx, index, weight, o) != NNL_OK) return NULL;
    nnl_tensor *at = checked_positions(ctx, index, weight, o->who);
    nnl_status status = at ? NNL_OK : ctx->status;
    if (at && o->max_norm > 0) status = shorten_rows(ctx, at, weight, o->max_norm, o->norm_type);
    lookup_state state = {weight->shape.size[0], o->padding};
    nnl_tensor *out =
        status == NNL_OK ? look_up(ctx, &lookup_record, at, weight, NNL_NO_PADDING, state) : NULL;
    nnl_tensor_release(at);
    return out;
}

// nn.functional.embedding(input, weight[, {padding_idx, max_norm, norm_type}])
static nnl_status embedding_forward(nnl_context *ctx, nnl_call *call) {
    nnl_embedding_options options = {.who = "embedding",
                                     .padding = call->arg[2].i,
                                     .max_norm = call->arg[3].number.d,
                                     .norm_type = call->arg[4].number.d};
    if (call->arg[3].given && !(options.max_norm > 0)) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "embedding: max_norm must be greater than 0, got %.14g",
                        options.max_norm);
    }
    call->out[0] = nnl_embedding(ctx, call->arg[0].tensor, call->arg[1].tensor, &options);
    return call->out[0] ? NNL_OK : ctx->status;
}

const nnl_op nnl_embedding_records[] = {
    {.name = "embedding",
     .doc = "rows of weight (rows, features) at positions of any shape, from 1: (*, features). The row "
            "padding_idx gets no gradient; rows longer than max_norm shrink to it in place",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {{"input", NNL_ARG_TENSOR, false, 0, NULL},
                {"weight", NNL_ARG_TENSOR, false, 0, NULL},
                {"padding_idx", NNL_ARG_INT, true, NNL_NO_PADDING, NULL},
                {"max_norm", NNL_ARG_NUMBER, true, 0, NULL},
                {"norm_type", NNL_ARG_NUMBER, true, 2, NULL}},
     .forward = embedding_forward},
    {.name = NULL},
};
