// tensor.h: the tensor: a shape, strides and an offset into storage that others may share. Both are counted
// references. "New" results belong to the caller, who releases them; NULL means that the context holds an
// error.
#ifndef NNL_TENSOR_TENSOR_H
#define NNL_TENSOR_TENSOR_H

#include "tensor/dtype.h"
#include "tensor/shape.h"

struct nnl_autograd;
typedef struct nnl_tensor nnl_tensor;

// A reference that ends by itself when the elements change in place: what backward saved of them is then of
// no use, and would keep alive a tensor that now depends on it.
typedef struct nnl_hold {
    nnl_tensor *tensor; // NULL where there is none, or once it has ended
    struct nnl_hold *next, **link;
} nnl_hold;

typedef struct nnl_storage {
    uint32_t refs;
    nnl_hold *holds; // of tensors that look at these elements
    nnl_context *ctx;
    char *data;
    size_t bytes;
    void (*release)(
        void *owner); // for memory that the engine does not own: called once, when the last user goes
    void *owner;
} nnl_storage;

struct nnl_tensor {
    uint32_t refs;
    nnl_dtype dtype;
    nnl_storage *home; // in whose block this struct lies, as that of the first tensor does; NULL: by itself
    nnl_context *ctx;
    nnl_storage *storage;
    nnl_tensor *base; // of a view: the tensor that it looks into, which is no view itself, retained
    uint64_t seen;    // of a view: the newest node of the graph when it was made, or NNL_UNSEEN
    struct nnl_autograd *autograd; // gradient and place in the graph (grad/graph.h); NULL for a constant
    int64_t offset;                // in elements
    nnl_shape shape;
    int64_t stride[NNL_MAX_DIMS]; // in elements
};

// Of a view that was made while nothing was recorded: it takes no part in what happens to its base.
#define NNL_UNSEEN UINT64_MAX

// Contiguous and not initialised. Returns new.
nnl_tensor *nnl_tensor_new(nnl_context *ctx, nnl_dtype dtype, const nnl_shape *shape);

// Contiguous and not initialised, of t's shape and dtype; t has so many elements and must be contiguous, with
// its strides in order. Returns new.
nnl_tensor *nnl_tensor_like(nnl_context *ctx, const nnl_tensor *t, size_t count);

// Over memory of the host's, which stays untouched until `release` has been called. Returns new.
nnl_tensor *nnl_tensor_over(nnl_context *ctx, nnl_dtype dtype, const nnl_shape *shape, void *data,
                            void (*release)(void *owner), void *owner);

// A view: another look at the same storage; no place in the graph yet. Returns new.
nnl_tensor *nnl_tensor_alias(const nnl_tensor *t, const nnl_shape *shape, const int64_t *stride,
                             int64_t offset);

// The same elements, outside the graph and no view. Returns new.
nnl_tensor *nnl_tensor_detach(const nnl_tensor *t);

nnl_tensor *nnl_tensor_retain(nnl_tensor *t);
void nnl_tensor_release(nnl_tensor *t); // NULL is allowed

static inline void *nnl_tensor_data(const nnl_tensor *t) {
    return t->storage->data + (size_t)t->offset * nnl_dtype_size(t->dtype);
}

static inline int64_t nnl_tensor_numel(const nnl_tensor *t) { return nnl_shape_numel(&t->shape); }

static inline nnl_compute nnl_tensor_compute(const nnl_tensor *t) { return nnl_dtype_get(t->dtype)->compute; }

static inline bool nnl_tensor_is_contiguous(const nnl_tensor *t) {
    int64_t step = 1;
    for (int d = t->shape.ndim - 1; d >= 0; d--) {
        if (t->shape.size[d] != 1 && t->stride[d] != step) return nnl_shape_numel(&t->shape) == 0;
        step *= t->shape.size[d];
    }
    return true;
}

// A view is one no more: it is the base of views of its own from here on. The elements stay shared.
void nnl_tensor_stand_alone(nnl_tensor *t);

// Note that the elements have changed in place: holds of them end.
void nnl_tensor_changed(nnl_tensor *t);

// Begins a hold, which lies still in memory until it is dropped. Retains t.
void nnl_hold_take(nnl_hold *hold, nnl_tensor *t);
void nnl_hold_drop(nnl_hold *hold);

// Gives t a copy of its elements in a storage of its own, and those who hold it with it.
nnl_status nnl_tensor_part_ways(nnl_tensor *t);

#endif
