// tensor.c: the life of tensors and storages.
#include "tensor/tensor.h"

#include <stddef.h>

// The storage's own struct stands in the first bytes of its block, the elements behind it.
#define STORAGE_HEADER ((sizeof(nnl_storage) + NNL_ALIGNMENT - 1) / NNL_ALIGNMENT * NNL_ALIGNMENT)

static nnl_storage *storage_new(nnl_context *ctx, size_t bytes) {
    nnl_storage *storage = nnl_alloc(&ctx->allocator, STORAGE_HEADER + bytes);
    if (!storage) {
        return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: %zu bytes wanted, %zu in use", bytes,
                             ctx->allocator.stats.live);
    }
    *storage = (nnl_storage){.refs = 1, .ctx = ctx, .data = (char *)storage + STORAGE_HEADER, .bytes = bytes};
    return storage;
}

static void storage_release(nnl_storage *storage) {
    if (!storage || --storage->refs > 0) return;
    if (storage->release) storage->release(storage->owner);
    nnl_free(&storage->ctx->allocator, storage);
}

static nnl_tensor *header_new(nnl_context *ctx, nnl_dtype dtype, const nnl_shape *shape) {
    nnl_tensor *t = nnl_alloc(&ctx->allocator, sizeof *t);
    if (!t) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a tensor");
    t->refs = 1;
    t->dtype = dtype;
    t->is_view = false;
    t->ctx = ctx;
    t->storage = NULL;
    t->autograd = NULL;
    t->offset = 0;
    t->shape = *shape;
    nnl_context_retain(ctx);
    ctx->live_tensors++;
    return t;
}

nnl_tensor *nnl_tensor_new(nnl_context *ctx, nnl_dtype dtype, const nnl_shape *shape) {
    size_t element_size = nnl_dtype_size(dtype);
    if (nnl_shape_check(ctx, "tensor", shape, element_size) != NNL_OK) return NULL;
    nnl_tensor *t = header_new(ctx, dtype, shape);
    if (!t) return NULL;
    nnl_shape_strides(shape, t->stride);
    t->storage = storage_new(ctx, (size_t)nnl_shape_numel(shape) * element_size);
    if (!t->storage) {
        nnl_tensor_release(t);
        return NULL;
    }
    return t;
}

nnl_tensor *nnl_tensor_over(nnl_context *ctx, nnl_dtype dtype, const nnl_shape *shape, void *data,
                            void (*release)(void *owner), void *owner) {
    size_t element_size = nnl_dtype_size(dtype);
    if (nnl_shape_check(ctx, "tensor", shape, element_size) != NNL_OK) return NULL;
    nnl_tensor *t = header_new(ctx, dtype, shape);
    if (!t) return NULL;
    nnl_shape_strides(shape, t->stride);
    t->storage = storage_new(ctx, 0);
    if (!t->storage) {
        nnl_tensor_release(t);
        return NULL;
    }
    t->storage->data = data;
    t->storage->bytes = (size_t)nnl_shape_numel(shape) * element_size;
    t->storage->release = release;
    t->storage->owner = owner;
    return t;
}

nnl_tensor *nnl_tensor_alias(const nnl_tensor *t, const nnl_shape *shape, const int64_t *stride,
                             int64_t offset) {
    nnl_tensor *alias = header_new(t->ctx, t->dtype, shape);
    if (!alias) return NULL;
    for (int d = 0; d < shape->ndim; d++) alias->stride[d] = stride[d];
    alias->offset = offset;
    alias->is_view = true;
    alias->storage = t->storage;
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
    storage_release(t->storage);
    if (t->autograd) ctx->autograd_free(t->autograd);
    nnl_free(&ctx->allocator, t);
    ctx->live_tensors--;
    nnl_context_release(ctx);
}

void *nnl_tensor_data(const nnl_tensor *t) {
    return t->storage->data + (size_t)t->offset * nnl_dtype_size(t->dtype);
}

int64_t nnl_tensor_numel(const nnl_tensor *t) { return nnl_shape_numel(&t->shape); }

bool nnl_tensor_is_contiguous(const nnl_tensor *t) {
    int64_t step = 1;
    for (int d = t->shape.ndim - 1; d >= 0; d--) {
        if (t->shape.size[d] == 0) return true;
        if (t->shape.size[d] != 1 && t->stride[d] != step) return false;
        step *= t->shape.size[d];
    }
    return true;
}

nnl_compute nnl_tensor_compute(const nnl_tensor *t) { return nnl_dtype_get(t->dtype)->compute; }

void nnl_tensor_changed(nnl_tensor *t) { t->storage->version++; }
