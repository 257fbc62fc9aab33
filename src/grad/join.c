// join.c: tensors put together along a dimension that they have (cat) or along a new one (stack).
#include "grad/records.h"

static bool is_empty_list_item(const nnl_tensor *t) { return t->shape.ndim == 1 && t->shape.size[0] == 0; }

static nnl_status check_item(nnl_context *ctx, const nnl_tensor *first, const nnl_tensor *t, size_t i,
                             int dim) {
    bool fits = t->shape.ndim == first->shape.ndim;
    for (int d = 0; fits && d < first->shape.ndim; d++)
        fits = d == dim || t->shape.size[d] == first->shape.size[d];
    if (fits) return NNL_OK;
    char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    return nnl_fail(ctx, NNL_ERR_SHAPE,
                    "cat: tensor %zu has shape %s, which does not fit %s outside of dimension %d", i + 1,
                    nnl_shape_text(&t->shape, b), nnl_shape_text(&first->shape, a), dim + 1);
}

// The shape and dtype of the whole; tensors of shape (0) fit anything, as in PyTorch.
static nnl_status plan(nnl_context *ctx, size_t count, nnl_tensor *const *items, int dim, nnl_shape *shape,
                       nnl_dtype *dtype) {
    const nnl_tensor *first = NULL;
    if (count == 0) return nnl_fail(ctx, NNL_ERR_ARGUMENT, "cat: expected at least one tensor");
    *dtype = items[0]->dtype;
    *shape = items[0]->shape;
    for (size_t i = 0; i < count; i++) {
        *dtype = nnl_dtype_promote(*dtype, items[i]->dtype);
        if (is_empty_list_item(items[i])) continue;
        if (!first) {
            first = items[i];
            *shape = first->shape;
            if (dim >= shape->ndim) {
                return nnl_fail(ctx, NNL_ERR_ARGUMENT, "cat: dimension %d is not among the %d of the tensors",
                                dim + 1, shape->ndim);
            }
            shape->size[dim] = 0;
        }
        nnl_status status = check_item(ctx, first, items[i], i, dim);
        if (status != NNL_OK) return status;
        shape->size[dim] += items[i]->shape.size[dim];
    }
    return NNL_OK;
}

static void copy_items(size_t count, nnl_tensor *const *items, int dim, nnl_tensor *out) {
    nnl_tensor part = *out; // a look at where the next item goes
    for (size_t i = 0; i < count; i++) {
        if (is_empty_list_item(items[i])) continue;
        part.shape.size[dim] = items[i]->shape.size[dim];
        if (nnl_tensor_numel(items[i]) > 0) nnl_try_copy(&part, items[i]);
        part.offset += part.shape.size[dim] * out->stride[dim];
    }
}

static nnl_status cat_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    const int64_t *sizes = node->state; // the dimension, then each item's size along it
    int64_t start = 0;
    for (int i = 0; i < node->n_inputs; i++) {
        if (nnl_node_needs(node, i)) {
            const nnl_shape *shape = &node->input[i]->shape;
            bool none = shape->ndim == 1 && shape->size[0] == 0; // fits anything, and is no slice of it
            dx[i] = none ? nnl_tensor_new(ctx, dout[0]->dtype, shape)
                         : nnl_slice(ctx, dout[0], (int)sizes[0], start, sizes[i + 1], 1);
            if (!dx[i]) return ctx->status;
        }
        start += sizes[i + 1];
    }
    return NNL_OK;
}

static const nnl_op cat_record = {.name = "cat", .outputs = 1, .backward = cat_backward};

static nnl_status record_cat(nnl_context *ctx, size_t count, nnl_tensor *const *items, int dim,
                             nnl_tensor *out) {
    if (!nnl_grad_wanted(ctx, items, (int)count)) return NNL_OK;
    size_t bytes = (count + 1) * sizeof(int64_t);
    int64_t *sizes = nnl_alloc(&ctx->allocator, bytes);
    if (!sizes) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for the graph");
    sizes[0] = dim;
    for (size_t i = 0; i < count; i++)
        sizes[i + 1] = is_empty_list_item(items[i]) ? 0 : items[i]->shape.size[dim];
    nnl_status status = nnl_record(ctx, &(nnl_recording){.op = &cat_record,
                                                         .n_inputs = (int)count,
                                                         .inputs = items,
                                                         .n_outputs = 1,
                                                         .outputs = &out,
                                                         .state = sizes,
                                                         .state_size = bytes});
    nnl_free(&ctx->allocator, sizes);
    return status;
}

nnl_tensor *nnl_cat(nnl_context *ctx, size_t count, nnl_tensor *const *items, int dim) {
    nnl_shape shape;
    nnl_dtype dtype = NNL_FLOAT32;
    if (plan(ctx, count, items, dim, &shape, &dtype) != NNL_OK) return NULL;
    nnl_tensor *out = nnl_tensor_new(ctx, dtype, &shape);
    if (!out) return NULL;
    copy_items(count, items, dim, out);
    if (record_cat(ctx, count, items, dim, out) == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

// Dimensions of the items are those of the first; negative ones count from its end.
static nnl_status cat_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor_list list = call->arg[0].tensors;
    call->out[0] = nnl_cat(ctx, list.count, list.items, (int)call->arg[1].i);
    return call->out[0] ? NNL_OK : ctx->status;
}

static nnl_status check_stack(nnl_context *ctx, nnl_tensor_list list) {
    for (size_t i = 0; i < list.count; i++) {
        if (nnl_shape_equal(&list.items[i]->shape, &list.items[0]->shape)) continue;
        char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
        return nnl_fail(ctx, NNL_ERR_SHAPE, "stack: tensor %zu has shape %s, the first has %s", i + 1,
                        nnl_shape_text(&list.items[i]->shape, b), nnl_shape_text(&list.items[0]->shape, a));
    }
    return list.count > 0 ? NNL_OK : nnl_fail(ctx, NNL_ERR_ARGUMENT, "stack: expected at least one tensor");
}

static nnl_status stack_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor_list list = call->arg[0].tensors;
    int dim = (int)call->arg[1].i;
    nnl_status status = check_stack(ctx, list);
    if (status != NNL_OK) return status;
    nnl_tensor **raised = nnl_alloc(&ctx->allocator, list.count * sizeof *raised);
    if (!raised) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for a list");
    size_t made = 0;
    while (made < list.count && (raised[made] = nnl_unsqueeze(ctx, list.items[made], dim)) != NULL) made++;
    if (made == list.count) call->out[0] = nnl_cat(ctx, made, raised, dim);
    for (size_t i = 0; i < made; i++) nnl_tensor_release(raised[i]);
    nnl_free(&ctx->allocator, raised);
    return call->out[0] ? NNL_OK : ctx->status;
}

const nnl_op nnl_join_records[] = {
    {.name = "cat",
     .doc = "a list of tensors, one after the other along a dimension",
     .flags = NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {{"tensors", NNL_ARG_TENSORS, false, 0, NULL}, {"dim", NNL_ARG_DIM, true, 0, NULL}},
     .forward = cat_forward},
    {.name = "stack",
     .doc = "a list of tensors of one shape, along a new dimension",
     .flags = NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {{"tensors", NNL_ARG_TENSORS, false, 0, NULL}, {"dim", NNL_ARG_NEW_DIM, true, 0, NULL}},
     .forward = stack_forward},
    {.name = NULL},
};
