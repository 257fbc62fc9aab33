// tensor.c: the life of tensors and storages.
#include "tensor/tensor.h"
#include "tensor/apply.h"

#include <stddef.h>

// A block holds the storage, its first tensor, and the elements.
typedef struct block_head {
    nnl_storage storage;
    nnl_tensor first;
} block_head;

#define BLOCK_HEAD ((sizeof(block_head) + NNL_ALIGNMENT - 1) / NNL_ALIGNMENT * NNL_ALIGNMENT)

static void storage_release(nnl_storage *storage) {
    if (--storage->refs > 0) return;
    if (storage->release) storage->release(storage->owner);
    nnl_free(&storage->ctx->allocator, storage);
}

static void tensor_init(nnl_tensor *t, nnl_dtype dtype, const nnl_shape *shape, nnl_storage *storage) {
    t->refs = 1;
    t->dtype = dtype;
    t->home = NULL;
    t->ctx = storage->ctx;
    t->storage = storage;
    t->base = NULL;
    t->seen = 0;
    t->autograd = NULL;
    t->offset = 0;
    t->shape = *shape;
    nnl_context_retain(t->ctx);
    t->ctx->live_tensors++;
}

// A storage and its first tensor, with room for so many bytes behind them. The strides are the caller's.
static nnl_tensor *block_new(nnl_context *ctx, nnl_dtype dtype, const nnl_shape *shape, size_t bytes) {
    block_head *head = nnl_alloc(&ctx->allocator, BLOCK_HEAD + bytes);
    if (!head) {
        return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: %zu bytes wanted, %zu in use", bytes,
                             ctx->allocator.stats.live);
    }
    head->storage = (nnl_storage){.refs = 1, .ctx = ctx, .data = (char *)head + BLOCK_HEAD, .bytes = bytes};
    tensor_init(&head->first, dtype, shape, &head->storage);
    head->first.home = &head->storage;
    return &head->first;
}

nnl_tensor *nnl_tensor_new(nnl_context *ctx, nnl_dtype dtype, const nnl_shape *shape) {
    int64_t stride[NNL_MAX_DIMS];
    int64_t bytes = nnl_shape_layout(ctx, "tensor", shape, nnl_dtype_size(dtype), stride);
    nnl_tensor *t = bytes >= 0 ? block_new(ctx, dtype, shape, (size_t)bytes) : NULL;
    if (!t) return NULL;
    for (int d = 0; d < shape->ndim; d++) t->stride[d] = stride[d];
    return t;
}

nnl_tensor *nnl_tensor_like(nnl_context *ctx, const nnl_tensor *t, size_t count) {
    nnl_tensor *like = block_new(ctx, t->dtype, &t->shape, count * nnl_dtype_size(t->dtype));
    if (!like) return NULL;
    for (int d = 0; d < t->shape.ndim; d++) like->stride[d] = t->stride[d];
    return like;
}

nnl_tensor *nnl_tensor_over(nnl_context *ctx, nnl_dtype dtype, const nnl_shape *shape, void *data,
                            void (*release)(void *owner), void *owner) {
    int64_t stride[NNL_MAX_DIMS];
    int64_t bytes = nnl_shape_layout(ctx, "tensor", shape, nnl_dtype_size(dtype), stride);
    nnl_tensor *t = bytes >= 0 ? block_new(ctx, dtype, shape, 0) : NULL;
    if (!t) return NULL;
    for (int d = 0; d < shape->ndim; d++) t->stride[d] = stride[d];
    t->storage->data = data;
    t->storage->bytes = (size_t)bytes;
    t->storage->release = release;
    t->storage->owner = owner;
    return t;
}

// A look at t's storage that is no view of anything.
static nnl_tensor *look_new(const nnl_tensor *t, const nnl_shape *shape, const int64_t *stride,
                            int64_t offset) {
    nnl_tensor *look = nnl_alloc(&t->ctx->allocator, sizeof *look);
    if (!look) return nnl_fail_null(t->ctx, NNL_ERR_MEMORY, "out of memory: no room for a tensor");
    tensor_init(look, t->dtype, shape, t->storage);
    for (int d = 0; d < shape->ndim; d++) look->stride[d] = stride[d];
    look->offset = offset;
    t->storage->refs++;
    return look;
}

// What is made inside of a walk is seen by nobody else, and needs no base.
nnl_tensor *nnl_tensor_alias(const nnl_tensor *t, const nnl_shape *shape, const int64_t *stride,
                             int64_t offset) {
    nnl_tensor *alias = look_new(t, shape, stride, offset), *base = t->base ? t->base : (nnl_tensor *)t;
    if (!alias) return NULL;
    alias->seen = t->ctx->grad_enabled ? t->ctx->next_sequence : NNL_UNSEEN;
    if (t->ctx->grad_enabled || base->autograd) alias->base = nnl_tensor_retain(base);
    return alias;
}

nnl_tensor *nnl_tensor_detach(const nnl_tensor *t) { return look_new(t, &t->shape, t->stride, t->offset); }

nnl_tensor *nnl_tensor_retain(nnl_tensor *t) {
    t->refs++;
    return t;
}

void nnl_tensor_release(nnl_tensor *t) {
    if (!t || --t->refs > 0) return;
    nnl_context *ctx = t->ctx;
    nnl_storage *storage = t->storage;
    if (t->autograd) ctx->autograd_free(t->autograd);
    if (t->base) nnl_tensor_release(t->base);
    if (t->home && t->home != storage) storage_release(t->home);
    if (!t->home) nnl_free(&ctx->allocator, t);
    storage_release(storage);
    ctx->live_tensors--;
    nnl_context_release(ctx);
}

void nnl_tensor_stand_alone(nnl_tensor *t) {
    nnl_tensor_release(t->base);
    t->base = NULL;
    t->seen = 0;
}

// ---- holds

static void hold_link(nnl_hold *hold, nnl_storage *storage) {
    hold->next = storage->holds;
    hold->link = &storage->holds;
    if (hold->next) hold->next->link = &hold->next;
    storage->holds = hold;
}

static void hold_unlink(nnl_hold *hold) {
    *hold->link = hold->next;
    if (hold->next) hold->next->link = hold->link;
}

void nnl_hold_take(nnl_hold *hold, nnl_tensor *t) {
    hold->tensor = nnl_tensor_retain(t);
    hold_link(hold, t->storage);
}

void nnl_hold_drop(nnl_hold *hold) {
    nnl_tensor *t = hold->tensor;
    if (!t) return;
    hold_unlink(hold);
    hold->tensor = NULL;
    nnl_tensor_release(t);
}

// Each drop may free what has other holds of the list.
void nnl_tensor_changed(nnl_tensor *t) {
    while (t->storage->holds) nnl_hold_drop(t->storage->holds);
}

nnl_status nnl_tensor_part_ways(nnl_tensor *t) {
    nnl_tensor *copy = nnl_tensor_new(t->ctx, t->dtype, &t->shape);
    if (!copy) return t->ctx->status;
    nnl_apply_copy(copy, t);
    for (nnl_hold *hold = t->storage->holds, *next; hold; hold = next) {
        next = hold->next;
        if (hold->tensor != t) continue;
        hold_unlink(hold);
        hold_link(hold, copy->storage);
    }
    nnl_storage *old = t->storage;
    t->storage = copy->storage;
    t->storage->refs++;
    t->offset = 0;
    for (int d = 0; d < t->shape.ndim; d++) t->stride[d] = copy->stride[d];
    if (t->home != old) storage_release(old); // the block in which t lies stays
    nnl_tensor_release(copy);
    return NNL_OK;
}
