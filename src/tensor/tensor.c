// tensor.c: the life of tensors and storages.
#include "tensor/tensor.h"
#include "tensor/apply.h"

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
    t->ctx = ctx;
    t->storage = NULL;
    t->base = NULL;
    t->seen = 0;
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

// A look at t's storage that is no view of anything.
static nnl_tensor *look_new(const nnl_tensor *t, const nnl_shape *shape, const int64_t *stride,
                            int64_t offset) {
    nnl_tensor *look = header_new(t->ctx, t->dtype, shape);
    if (!look) return NULL;
    for (int d = 0; d < shape->ndim; d++) look->stride[d] = stride[d];
    look->offset = offset;
    look->storage = t->storage;
    look->storage->refs++;
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
    storage_release(t->storage);
    if (t->autograd) ctx->autograd_free(t->autograd);
    nnl_tensor_release(t->base);
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
    t->offset = 0;
    for (int d = 0; d < t->shape.ndim; d++) t->stride[d] = copy->stride[d];
    copy->storage = old;
    nnl_tensor_release(copy);
    return NNL_OK;
}
