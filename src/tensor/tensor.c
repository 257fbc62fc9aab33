// tensor.c: the life of tensors and storages.
#include "tensor/tensor.h"

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
    t->is_view = false;
    t->in_storage = false;
    t->ctx = storage->ctx;
    t->storage = storage;
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
    head->first.in_storage = true;
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

nnl_tensor *nnl_tensor_alias(const nnl_tensor *t, const nnl_shape *shape, const int64_t *stride,
                             int64_t offset) {
    nnl_tensor *alias = nnl_alloc(&t->ctx->allocator, sizeof *alias);
    if (!alias) return nnl_fail_null(t->ctx, NNL_ERR_MEMORY, "out of memory: no room for a tensor");
    tensor_init(alias, t->dtype, shape, t->storage);
    for (int d = 0; d < shape->ndim; d++) alias->stride[d] = stride[d];
    alias->offset = offset;
    alias->is_view = true;
    alias->storage->refs++;
    return alias;
}

nnl_tensor *nnl_tensor_detach(const nnl_tensor *t) {
    nnl_tensor *alias = nnl_tensor_alias(t, &t->shape, t->stride, t->offset);
    if (alias) alias->is_view = t->is_view;
    return alias;
}

nnl_tensor *nnl_tensor_retain(nnl_tensor *t) {
    t->refs++;
    return t;
}

void nnl_tensor_release(nnl_tensor *t) {
    if (!t || --t->refs > 0) return;
    nnl_context *ctx = t->ctx;
    nnl_storage *storage = t->storage;
    if (t->autograd) ctx->autograd_free(t->autograd);
    if (!t->in_storage) nnl_free(&ctx->allocator, t);
    storage_release(storage);
    ctx->live_tensors--;
    nnl_context_release(ctx);
}

void nnl_tensor_changed(nnl_tensor *t) { t->storage->version++; }
