// pick.c: reading at positions along several dimensions at once, as t[{rows, columns}] does.
#include "grad/ops.h"
#include "tensor/apply.h"

// The dimensions that are read at positions, and what reading them gives.
typedef struct pick {
    int count;
    int dim[NNL_MAX_DIMS];
    nnl_tensor *key[NNL_MAX_DIMS]; // borrowed: integers from 1, or negative ones from the end
    nnl_shape shape;               // of the positions, broadcast together
} pick;

static nnl_status read_keys(nnl_context *ctx, const nnl_tensor *t, nnl_tensor *const *keys, pick *p) {
    for (int d = 0; d < t->shape.ndim; d++) {
        if (!keys[d]) continue;
        if (nnl_dtype_get(keys[d]->dtype)->kind != NNL_KIND_INT) {
            return nnl_fail(ctx, NNL_ERR_DTYPE, "index: expected positions as an int64 tensor, got %s",
                            nnl_dtype_get(keys[d]->dtype)->name);
        }
        p->dim[p->count] = d;
        p->key[p->count++] = keys[d];
        if (nnl_shape_broadcast(ctx, "index", &p->shape, &keys[d]->shape, &p->shape) != NNL_OK)
            return ctx->status;
    }
    if (p->shape.ndim + t->shape.ndim - p->count > NNL_MAX_DIMS)
        return nnl_fail(ctx, NNL_ERR_SHAPE, "index: the result would have more than %d dimensions",
                        NNL_MAX_DIMS);
    return NNL_OK;
}

// Positions of one dimension, from 0, are added to those of the dimensions before, which are `size` times as
// far apart.
static nnl_status add_positions(nnl_context *ctx, int64_t *sum, const nnl_tensor *key, int dim,
                                int64_t size) {
    const int64_t *asked = nnl_tensor_data(key);
    for (int64_t i = 0, n = nnl_tensor_numel(key); i < n; i++) {
        int64_t at = asked[i] > 0 ? asked[i] - 1 : asked[i] + size;
        if (asked[i] == 0 || at < 0 || at >= size) {
            return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                            "index: position %lld is out of range: dimension %d has positions 1 to %lld",
                            (long long)asked[i], dim + 1, (long long)size);
        }
        sum[i] = sum[i] * size + at;
    }
    return NNL_OK;
}

// Positions, from 1, in the picked dimensions seen as one. Returns new, of one dimension.
static nnl_tensor *joint_positions(nnl_context *ctx, const nnl_tensor *t, const pick *p) {
    nnl_shape flat = {.ndim = 1, .size = {nnl_shape_numel(&p->shape)}};
    nnl_tensor *joint = nnl_tensor_new(ctx, NNL_INT64, &flat);
    if (!joint) return NULL;
    int64_t *sum = nnl_tensor_data(joint);
    for (int64_t i = 0; i < flat.size[0]; i++) sum[i] = 0;
    nnl_status status = NNL_OK;
    for (int k = 0; k < p->count && status == NNL_OK; k++) {
        nnl_tensor *key = nnl_tensor_new(ctx, NNL_INT64, &p->shape);
        if (key) nnl_try_copy(key, p->key[k]);
        status = key ? add_positions(ctx, sum, key, p->dim[k], t->shape.size[p->dim[k]]) : ctx->status;
        nnl_tensor_release(key);
    }
    for (int64_t i = 0; i < flat.size[0]; i++) sum[i]++;
    if (status == NNL_OK) return joint;
    nnl_tensor_release(joint);
    return NULL;
}

// The order that brings the picked dimensions to the front, and the shape then, with these as one.
static void picked_first(const nnl_tensor *t, const pick *p, int *order, nnl_shape *joined) {
    int used = 0;
    joined->ndim = 1;
    joined->size[0] = 1;
    for (int k = 0; k < p->count; k++) joined->size[0] *= t->shape.size[order[used++] = p->dim[k]];
    for (int d = 0, k = 0; d < t->shape.ndim; d++) {
        if (k < p->count && p->dim[k] == d) {
            k++;
        } else {
            order[used++] = d;
            joined->size[joined->ndim++] = t->shape.size[d];
        }
    }
}

// From the shape of the positions in front to where the first picked dimension was.
static nnl_tensor *moved_back(nnl_context *ctx, nnl_tensor *x, int ndim, int before) {
    int order[NNL_MAX_DIMS], used = 0;
    for (int d = 0; d < before; d++) order[used++] = ndim + d;
    for (int d = 0; d < ndim; d++) order[used++] = d;
    for (int d = ndim + before; d < x->shape.ndim; d++) order[used++] = d;
    return nnl_permute(ctx, x, order);
}

static nnl_tensor *picked(nnl_context *ctx, nnl_tensor *t, const pick *p, nnl_tensor *joint) {
    int order[NNL_MAX_DIMS];
    nnl_shape joined, shape = p->shape;
    picked_first(t, p, order, &joined);
    for (int d = 1; d < joined.ndim; d++) shape.size[shape.ndim++] = joined.size[d];
    bool together = p->dim[p->count - 1] - p->dim[0] == p->count - 1;
    nnl_tensor *front = nnl_permute(ctx, t, order), *rows = front ? nnl_reshape(ctx, front, &joined) : NULL;
    nnl_tensor *chosen = rows ? nnl_index_select(ctx, rows, 0, joint) : NULL;
    nnl_tensor *out = chosen ? nnl_reshape(ctx, chosen, &shape) : NULL;
    nnl_tensor_release(front);
    nnl_tensor_release(rows);
    nnl_tensor_release(chosen);
    if (!out || !together || p->dim[0] == 0) return out;
    nnl_tensor *back = moved_back(ctx, out, p->shape.ndim, p->dim[0]);
    nnl_tensor_release(out);
    return back;
}

nnl_tensor *nnl_pick(nnl_context *ctx, nnl_tensor *t, nnl_tensor *const *keys) {
    pick p = {.count = 0};
    if (read_keys(ctx, t, keys, &p) != NNL_OK) return NULL;
    if (p.count == 0) return nnl_tensor_retain(t);
    nnl_tensor *joint = joint_positions(ctx, t, &p);
    nnl_tensor *out = joint ? picked(ctx, t, &p, joint) : NULL;
    nnl_tensor_release(joint);
    return out;
}

nnl_tensor *nnl_positions_in(nnl_context *ctx, const nnl_shape *shape) {
    nnl_tensor *t = nnl_tensor_new(ctx, NNL_INT64, shape);
    if (!t) return NULL;
    int64_t *at = nnl_tensor_data(t);
    for (int64_t i = 0, n = nnl_tensor_numel(t); i < n; i++) at[i] = i + 1;
    return t;
}
