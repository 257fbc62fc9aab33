// assign.c: changes in place within the graph: t[...] = values, and what operations do that end in "_". The
// tensor gets a new place in the graph, after an operation whose inputs are its old place and the values. A
// view writes into its base; other views of that find their new places when they are used next
// (nnl_catch_up).
#include "grad/part.h"

// The tensor's gradient is none where it was overwritten; the values' is what came there.
static nnl_status assign_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    if (nnl_node_needs(node, 0)) dx[0] = nnl_part_clear(ctx, dout[0], node->state);
    if (nnl_node_needs(node, 0) && !dx[0]) return ctx->status;
    if (nnl_node_needs(node, 1)) dx[1] = nnl_part_take(ctx, dout[0], node->state);
    return nnl_node_needs(node, 1) && !dx[1] ? ctx->status : NNL_OK;
}

static const nnl_op assign_record = {.name = "assignment", .outputs = 1, .backward = assign_backward};

static nnl_status record_write(nnl_context *ctx, nnl_tensor *t, const nnl_tensor *look, nnl_tensor *values) {
    nnl_tensor *base = t->base ? t->base : t;
    nnl_part part = nnl_part_of(base, look);
    return nnl_record(ctx, &(nnl_recording){.op = &assign_record,
                                            .n_inputs = 2,
                                            .inputs = (nnl_tensor *const[]){base, values},
                                            .n_outputs = 1,
                                            .outputs = &base,
                                            .state = &part,
                                            .state_size = sizeof part});
}

static bool is_shared(const nnl_tensor *t) {
    return !nnl_tensor_is_contiguous(t) && nnl_overlaps(&t->shape, t->stride);
}

static nnl_status check_leaf(nnl_context *ctx, const char *who, const nnl_tensor *t) {
    const char *what = t->base && nnl_requires_grad(t->base) && nnl_is_leaf(t->base) ? "a view of a leaf"
                       : nnl_requires_grad(t) && nnl_is_leaf(t)                      ? "a leaf"
                                                                                     : NULL;
    if (!what) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_STATE,
                    "%s: %s that requires a gradient cannot be changed in place; do it inside nn.no_grad",
                    who, what);
}

static nnl_status check_view(nnl_context *ctx, const char *who, const nnl_tensor *t, bool recorded) {
    if (t->seen == NNL_UNSEEN && (recorded || (t->base && nnl_requires_grad(t->base)))) {
        return nnl_fail(
            ctx, NNL_ERR_STATE,
            "%s: a view made inside nn.no_grad cannot be changed in place outside of it; make both "
            "inside or both outside",
            who);
    }
    if (recorded && t->base && nnl_overlaps(&t->base->shape, t->base->stride)) {
        return nnl_fail(ctx, NNL_ERR_STATE,
                        "%s: the view looks into a tensor whose elements share memory; "
                        "clone() that first",
                        who);
    }
    return NNL_OK;
}

// A view whose base nobody else sees is a tensor of its own.
static void forget_base(nnl_tensor *t) {
    if (!t->base || t->base->refs > 1) return;
    nnl_tensor_release(t->base);
    t->base = NULL;
}

static nnl_status check_apart(nnl_context *ctx, const char *who, const nnl_tensor *t) {
    if (!is_shared(t)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_STATE,
                    "%s: several elements of an expanded or unfolded tensor share memory; clone() it before "
                    "changing it in place",
                    who);
}

static nnl_status check_graph(nnl_context *ctx, const char *who, nnl_tensor *t, bool recorded) {
    if (!ctx->grad_enabled) return NNL_OK;
    nnl_status status = check_leaf(ctx, who, t);
    if (status == NNL_OK) status = check_view(ctx, who, t, recorded);
    if (status == NNL_OK && nnl_is_behind(t)) status = nnl_catch_up(ctx, t);
    if (status == NNL_OK) forget_base(t);
    return status;
}

nnl_status nnl_check_in_place(nnl_context *ctx, const char *who, nnl_tensor *t, bool recorded) {
    nnl_status status = check_apart(ctx, who, t);
    return status == NNL_OK ? check_graph(ctx, who, t, recorded) : status;
}

nnl_status nnl_write(nnl_context *ctx, nnl_tensor *t, nnl_tensor *values) {
    bool wanted = nnl_grad_wanted(ctx, (nnl_tensor *const[]){t, values}, 2);
    bool moves =
        wanted && !t->base && values->refs == 1 && values->dtype == t->dtype && nnl_requires_grad(values);
    if (wanted && !moves && record_write(ctx, t, t, values) != NNL_OK) return ctx->status;
    if (nnl_tensor_numel(t) > 0) nnl_apply_copy(t, values);
    nnl_tensor_changed(t);
    if (moves) nnl_autograd_move(t, values);
    return NNL_OK;
}

// ---- t[...] = values

nnl_tensor *nnl_apart(nnl_context *ctx, const nnl_tensor *t, nnl_tensor *values) {
    if (values->storage != t->storage) return nnl_tensor_retain(values);
    nnl_tensor *copy = nnl_tensor_new(ctx, values->dtype, &values->shape);
    if (copy) nnl_try_copy(copy, values);
    return copy;
}

static nnl_status assign_look(nnl_context *ctx, nnl_tensor *t, nnl_tensor *look, nnl_tensor *values) {
    char from[NNL_SHAPE_TEXT], to[NNL_SHAPE_TEXT];
    bool wanted = nnl_grad_wanted(ctx, (nnl_tensor *const[]){t, values}, 2);
    if (!nnl_shape_broadcasts_to(&values->shape, &look->shape)) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "assignment: values of shape %s do not fit a part of shape %s",
                        nnl_shape_text(&values->shape, from), nnl_shape_text(&look->shape, to));
    }
    if (check_graph(ctx, "assignment", t, wanted) != NNL_OK) return ctx->status;
    if (check_apart(ctx, "assignment", wanted && !t->base ? t : look) != NNL_OK) return ctx->status;
    nnl_tensor *source = nnl_apart(ctx, t, values);
    if (!source) return ctx->status;
    nnl_status status = wanted ? record_write(ctx, t, look, values) : NNL_OK;
    if (status == NNL_OK) {
        if (nnl_tensor_numel(look) > 0) nnl_try_copy(look, source);
        nnl_tensor_changed(t);
        status = nnl_check_stop(ctx, "assignment");
    }
    nnl_tensor_release(source);
    return status;
}

nnl_status nnl_assign(nnl_context *ctx, nnl_tensor *t, const nnl_region *region, nnl_tensor *values) {
    nnl_tensor look = region ? nnl_region_look(t, region) : *t;
    return assign_look(ctx, t, &look, values);
}

nnl_status nnl_assign_number(nnl_context *ctx, nnl_tensor *t, const nnl_region *region, nnl_number value) {
    nnl_tensor *values = nnl_tensor_new(ctx, t->dtype, &(nnl_shape){.ndim = 0});
    if (!values) return ctx->status;
    nnl_try_fill(values, value);
    nnl_status status = nnl_assign(ctx, t, region, values);
    nnl_tensor_release(values);
    return status;
}
