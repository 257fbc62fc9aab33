// assign.c: writing values into a part of a tensor, in place, within the graph: t[...] = values.
#include "grad/records.h"

// Where the part lies in the tensor, in elements from its first one.
typedef struct part_state {
    nnl_shape shape;
    int64_t stride[NNL_MAX_DIMS];
    int64_t offset;
} part_state;

// A look at the part in a tensor of the same layout, for the time of one call.
static nnl_tensor part_of(const nnl_tensor *whole, const part_state *s) {
    nnl_tensor part = *whole;
    part.shape = s->shape;
    part.offset += s->offset;
    for (int d = 0; d < s->shape.ndim; d++) part.stride[d] = s->stride[d];
    return part;
}

// The tensor's gradient is none where it was overwritten; the values' is what came there.
static nnl_status assign_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    const part_state *s = node->state;
    nnl_tensor *whole = nnl_tensor_new(ctx, dout[0]->dtype, &dout[0]->shape);
    if (!whole) return ctx->status;
    nnl_apply_copy(whole, dout[0]);
    nnl_tensor part = part_of(whole, s);
    if (nnl_node_needs(node, 1)) {
        dx[1] = nnl_tensor_new(ctx, whole->dtype, &s->shape);
        if (dx[1]) nnl_apply_copy(dx[1], &part);
    }
    if (nnl_node_needs(node, 0) && nnl_tensor_numel(&part) > 0) nnl_apply_fill(&part, nnl_number_int(0));
    bool failed = nnl_node_needs(node, 1) && !dx[1];
    if (nnl_node_needs(node, 0) && !failed) {
        dx[0] = whole;
    } else {
        nnl_tensor_release(whole);
    }
    return failed ? ctx->status : NNL_OK;
}

static const nnl_op assign_record = {.name = "assignment", .outputs = 1, .backward = assign_backward};

// Records the assignment as an operation whose result takes the tensor's place.
static nnl_status record_assign(nnl_context *ctx, nnl_tensor *t, const nnl_tensor *part, nnl_tensor *values) {
    if (!nnl_tensor_is_contiguous(t)) {
        return nnl_fail(ctx, NNL_ERR_STATE,
                        "assignment: a tensor in the graph must be contiguous to be written to; "
                        "use contiguous() or where");
    }
    nnl_tensor *result = nnl_tensor_detach(t);
    if (!result) return ctx->status;
    part_state state = {.shape = part->shape, .offset = part->offset - t->offset};
    for (int d = 0; d < part->shape.ndim; d++) state.stride[d] = part->stride[d];
    nnl_status status = nnl_record(ctx, &(nnl_recording){.op = &assign_record,
                                                         .n_inputs = 2,
                                                         .inputs = (nnl_tensor *const[]){t, values},
                                                         .n_outputs = 1,
                                                         .outputs = &result,
                                                         .state = &state,
                                                         .state_size = sizeof state});
    if (status == NNL_OK) nnl_autograd_move(t, result);
    nnl_tensor_release(result);
    return status;
}

nnl_status nnl_assign(nnl_context *ctx, nnl_tensor *t, nnl_tensor *part, nnl_tensor *values) {
    char from[NNL_SHAPE_TEXT], to[NNL_SHAPE_TEXT];
    bool recorded = nnl_grad_wanted(ctx, (nnl_tensor *const[]){t, values}, 2);
    if (!nnl_shape_broadcasts_to(&values->shape, &part->shape)) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "assignment: values of shape %s do not fit a part of shape %s",
                        nnl_shape_text(&values->shape, from), nnl_shape_text(&part->shape, to));
    }
    nnl_status status = nnl_check_in_place(ctx, "assignment", t, recorded);
    if (status != NNL_OK) return status;
    bool overlaps = values->storage == t->storage;
    nnl_tensor *source =
        overlaps ? nnl_tensor_new(ctx, values->dtype, &values->shape) : nnl_tensor_retain(values);
    if (!source) return ctx->status;
    if (overlaps) nnl_apply_copy(source, values);
    if (nnl_tensor_numel(part) > 0) nnl_apply_copy(part, source);
    nnl_tensor_release(source);
    nnl_tensor_changed(t);
    return recorded ? record_assign(ctx, t, part, values) : NNL_OK;
}

nnl_status nnl_assign_number(nnl_context *ctx, nnl_tensor *t, nnl_tensor *part, nnl_number value) {
    nnl_tensor *values = nnl_tensor_new(ctx, t->dtype, &(nnl_shape){.ndim = 0});
    if (!values) return ctx->status;
    nnl_apply_fill(values, value);
    nnl_status status = nnl_assign(ctx, t, part, values);
    nnl_tensor_release(values);
    return status;
}

// The result of an operation becomes the tensor's content and place: t must have its shape.
nnl_status nnl_replace(nnl_context *ctx, nnl_tensor *t, nnl_tensor *result) {
    nnl_status status = nnl_check_in_place(ctx, "assignment", t, nnl_requires_grad(result));
    if (status != NNL_OK) return status;
    nnl_apply_copy(t, result);
    nnl_tensor_changed(t);
    if (nnl_requires_grad(result)) nnl_autograd_move(t, result);
    return NNL_OK;
}

// Copies row i of `rows` over row at[i] of t seen as `shape`.
static void put_rows(nnl_tensor *t, const nnl_shape *shape, const nnl_tensor *at, const nnl_tensor *rows) {
    const int64_t *position = nnl_tensor_data(at);
    nnl_tensor target = *t, source = *rows; // looks at one row of each
    target.shape = source.shape = nnl_shape_of(shape->ndim - 1, shape->size + 1);
    nnl_shape_strides(&target.shape, target.stride);
    nnl_shape_strides(&source.shape, source.stride);
    int64_t step = nnl_shape_numel(&target.shape);
    for (int64_t i = 0, n = nnl_tensor_numel(at); i < n; i++) {
        target.offset = t->offset + (position[i] - 1) * step;
        source.offset = rows->offset + i * step;
        if (step > 0) nnl_apply_copy(&target, &source);
    }
}

nnl_status nnl_index_put(nnl_context *ctx, nnl_tensor *t, const nnl_shape *shape, nnl_tensor *at,
                         nnl_tensor *values) {
    nnl_shape wide = *shape;
    if (nnl_grad_wanted(ctx, (nnl_tensor *const[]){t, values}, 2) || !nnl_tensor_is_contiguous(t)) {
        return nnl_fail(ctx, NNL_ERR_STATE,
                        "index: writing at positions needs a contiguous tensor outside the graph; "
                        "use scatter or where");
    }
    nnl_status status = nnl_check_positions(ctx, "index", at, shape->size[0]);
    if (status != NNL_OK) return status;
    wide.size[0] = nnl_tensor_numel(at);
    nnl_tensor *expanded = nnl_expand(ctx, values, &wide), *rows = expanded ? nnl_clone(ctx, expanded) : NULL;
    if (rows) put_rows(t, shape, at, rows);
    nnl_tensor_release(expanded);
    nnl_tensor_release(rows);
    if (!rows) return ctx->status;
    nnl_tensor_changed(t);
    return NNL_OK;
}
