// adapter.c: low-rank adapters: making them, adding them to a layer's result, merging them. See adapter.h.
#include "nn/adapter.h"
#include "nn/init.h"
#include "tensor/apply.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *weight_in(const char *name) {
    const char *at = strstr(name, "weight"), *last = at;
    while (at) {
        last = at;
        at = strstr(at + 1, "weight");
    }
    return last;
}

static double scale_of(const nnl_adapter *adapter) { return adapter->alpha / (double)adapter->rank; }

bool nnl_adapter_fits(const nnl_layer *layer, int slot) {
    char name[NNL_SLOT_NAME];
    const nnl_tensor *t = layer->tensor[slot];
    if (!t || t->shape.ndim < 2 || nnl_layer_slot_at(layer, slot)->buffer || !nnl_dtype_is_float(t->dtype))
        return false;
    return weight_in(nnl_layer_slot_name(layer, slot, name)) != NULL;
}

bool nnl_adapter_sees_input(const nnl_layer *layer) { return layer->class->adapts == NNL_ADAPTS_INPUT; }

// ---- making and finding them

static nnl_tensor *new_matrix(nnl_context *ctx, nnl_dtype dtype, int64_t rows, int64_t columns) {
    nnl_shape shape = {2, {rows, columns}};
    nnl_tensor *t = nnl_tensor_new(ctx, dtype, &shape);
    if (!t) return NULL;
    nnl_apply_fill(t, nnl_number_float(0));
    if (nnl_set_requires_grad(ctx, t, true) == NNL_OK) return t;
    nnl_tensor_release(t);
    return NULL;
}

static void adapter_clear(nnl_adapter *adapter) {
    nnl_tensor_release(adapter->a);
    nnl_tensor_release(adapter->b);
    nnl_tensor_release(adapter->base);
}

// One more place at the end of the list, not yet counted.
static nnl_adapter *next_place(nnl_context *ctx, nnl_layer *layer) {
    size_t used = (size_t)layer->n_adapters * sizeof(nnl_adapter);
    nnl_adapter *more = nnl_alloc(&ctx->allocator, used + sizeof *more);
    if (!more) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for an adapter");
    if (used > 0) memcpy(more, layer->adapters, used);
    nnl_free(&ctx->allocator, layer->adapters);
    layer->adapters = more;
    return more + layer->n_adapters;
}

static nnl_status fill_first(nnl_context *ctx, nnl_adapter *adapter, int64_t in, bool gaussian) {
    double bound = 1 / sqrt((double)in);
    if (gaussian) return nnl_init_normal(ctx, adapter->a, 0, 1 / (double)adapter->rank);
    return nnl_init_uniform(ctx, adapter->a, -bound, bound);
}

nnl_status nnl_adapter_add(nnl_context *ctx, nnl_layer *layer, int slot, int64_t rank, double alpha,
                           double dropout, bool gaussian) {
    const nnl_tensor *w = layer->tensor[slot];
    int64_t out = w->shape.size[0], in = out > 0 ? nnl_tensor_numel(w) / out : 0;
    nnl_adapter *place = next_place(ctx, layer);
    if (!place) return ctx->status;
    *place = (nnl_adapter){.slot = slot, .rank = rank, .alpha = alpha, .dropout = dropout};
    place->a = new_matrix(ctx, w->dtype, rank, in);
    place->b = place->a ? new_matrix(ctx, w->dtype, out, rank) : NULL;
    nnl_status status = place->b ? fill_first(ctx, place, in, gaussian) : ctx->status;
    if (status == NNL_OK) {
        layer->n_adapters++;
    } else {
        adapter_clear(place);
    }
    return status;
}

const nnl_adapter *nnl_adapter_of(const nnl_layer *layer, int slot) {
    for (int i = 0; i < layer->n_adapters; i++) {
        const nnl_adapter *adapter = &layer->adapters[i];
        if (adapter->slot == slot) return adapter->base ? NULL : adapter;
    }
    return NULL;
}

void nnl_adapter_name(const nnl_layer *layer, const nnl_adapter *adapter, char which,
                      char name[NNL_SLOT_NAME]) {
    char room[NNL_SLOT_NAME];
    const char *slot = nnl_layer_slot_name(layer, adapter->slot, room), *weight = weight_in(slot);
    snprintf(name, NNL_SLOT_NAME, "%.*slora_%c%s", (int)(weight - slot), slot, which,
             weight + strlen("weight"));
}

nnl_tensor *nnl_adapter_tensor(const nnl_layer *layer, const char *name) {
    char own[NNL_SLOT_NAME];
    for (int i = 0; i < layer->n_adapters; i++) {
        const nnl_adapter *adapter = &layer->adapters[i];
        nnl_adapter_name(layer, adapter, 'A', own);
        if (strcmp(own, name) == 0) return adapter->a;
        nnl_adapter_name(layer, adapter, 'B', own);
        if (strcmp(own, name) == 0) return adapter->b;
    }
    return NULL;
}

// ---- in a forward

static nnl_tensor *through_a(nnl_context *ctx, const nnl_adapter *adapter, bool training, nnl_tensor *x) {
    bool drops = training && adapter->dropout > 0;
    nnl_tensor *seen = drops ? nnl_dropout(ctx, x, adapter->dropout) : nnl_tensor_retain(x);
    nnl_tensor *low = seen ? nnl_linear(ctx, seen, adapter->a, NULL, NNL_UNARY_COUNT) : NULL;
    nnl_tensor *scaled = low ? nnl_mul_number(ctx, low, scale_of(adapter)) : NULL;
    nnl_tensor_release(seen);
    nnl_tensor_release(low);
    return scaled;
}

nnl_tensor *nnl_adapter_apply(nnl_context *ctx, const nnl_adapter *adapter, bool training, nnl_tensor *x,
                              int64_t first, int64_t rows, nnl_tensor *y) {
    if (!adapter || !y) return y;
    bool whole = rows == adapter->b->shape.size[0];
    nnl_tensor *low = through_a(ctx, adapter, training, x);
    nnl_tensor *b = whole ? nnl_tensor_retain(adapter->b) : nnl_slice(ctx, adapter->b, 0, first, rows, 1);
    nnl_tensor *more = low && b ? nnl_linear(ctx, low, b, NULL, NNL_UNARY_COUNT) : NULL;
    nnl_tensor *sum = more ? nnl_add(ctx, y, more) : NULL;
    nnl_tensor_release(low);
    nnl_tensor_release(b);
    nnl_tensor_release(more);
    nnl_tensor_release(y);
    return sum;
}

nnl_tensor *nnl_linear_adapted(nnl_context *ctx, const nnl_layer *layer, nnl_tensor *x, int weight, int bias,
                               const nnl_activation *activation) {
    const nnl_adapter *adapter = nnl_adapter_of(layer, weight);
    nnl_tensor *w = layer->tensor[weight], *b = layer->tensor[bias];
    if (!adapter) return nnl_linear_activated(ctx, x, w, b, activation);
    nnl_tensor *y = nnl_linear(ctx, x, w, b, NNL_UNARY_COUNT);
    y = nnl_adapter_apply(ctx, adapter, layer->training, x, 0, w->shape.size[0], y);
    if (!y || activation->kind == NNL_ACTIVATION_NONE) return y;
    nnl_tensor *out = nnl_activate(ctx, activation, y);
    nnl_tensor_release(y);
    return out;
}

// W + alpha / rank * B A, in the graph. Returns new.
static nnl_tensor *sum_of(nnl_context *ctx, const nnl_layer *layer, const nnl_adapter *adapter) {
    nnl_tensor *w = layer->tensor[adapter->slot];
    nnl_tensor *product = nnl_matmul(ctx, adapter->b, adapter->a);
    nnl_tensor *scaled = product ? nnl_mul_number(ctx, product, scale_of(adapter)) : NULL;
    nnl_tensor *shaped = scaled ? nnl_reshape(ctx, scaled, &w->shape) : NULL;
    nnl_tensor *sum = shaped ? nnl_add(ctx, w, shaped) : NULL;
    nnl_tensor_release(product);
    nnl_tensor_release(scaled);
    nnl_tensor_release(shaped);
    return sum;
}

nnl_status nnl_adapters_begin(nnl_context *ctx, nnl_layer *layer) {
    for (int i = 0; i < layer->n_adapters; i++) {
        nnl_adapter *adapter = &layer->adapters[i];
        if (adapter->base) continue;
        nnl_tensor *sum = sum_of(ctx, layer, adapter);
        if (!sum) {
            nnl_adapters_end(layer);
            return ctx->status;
        }
        adapter->kept = layer->tensor[adapter->slot];
        layer->tensor[adapter->slot] = sum;
    }
    return NNL_OK;
}

void nnl_adapters_end(nnl_layer *layer) {
    for (int i = 0; i < layer->n_adapters; i++) {
        nnl_adapter *adapter = &layer->adapters[i];
        if (!adapter->kept) continue;
        nnl_tensor_release(layer->tensor[adapter->slot]);
        layer->tensor[adapter->slot] = adapter->kept;
        adapter->kept = NULL;
    }
}

// ---- merging

static nnl_status merge_one(nnl_context *ctx, nnl_layer *layer, nnl_adapter *adapter) {
    bool mode = ctx->grad_enabled;
    nnl_tensor *w = layer->tensor[adapter->slot];
    ctx->grad_enabled = false;
    nnl_tensor *sum = sum_of(ctx, layer, adapter);
    ctx->grad_enabled = mode;
    if (!sum) return ctx->status;
    if (nnl_requires_grad(w) && nnl_set_requires_grad(ctx, sum, true) != NNL_OK) {
        nnl_tensor_release(sum);
        return ctx->status;
    }
    adapter->base = w;
    layer->tensor[adapter->slot] = sum;
    return NNL_OK;
}

nnl_status nnl_adapters_merge(nnl_context *ctx, nnl_layer *layer, bool merged) {
    nnl_status status = NNL_OK;
    for (int i = 0; i < layer->n_adapters && status == NNL_OK; i++) {
        nnl_adapter *adapter = &layer->adapters[i];
        if (merged == (adapter->base != NULL)) continue;
        if (merged) {
            status = merge_one(ctx, layer, adapter);
        } else {
            nnl_tensor_release(layer->tensor[adapter->slot]);
            layer->tensor[adapter->slot] = adapter->base;
            adapter->base = NULL;
        }
    }
    return status;
}

void nnl_adapters_drop(nnl_layer *layer) {
    for (int i = 0; i < layer->n_adapters; i++) adapter_clear(&layer->adapters[i]);
    nnl_free(&layer->ctx->allocator, layer->adapters);
    layer->adapters = NULL;
    layer->n_adapters = 0;
}

// Copies of another dtype; those that need none, or failed, stay NULL.
static nnl_status convert_one(nnl_context *ctx, const nnl_adapter *adapter, nnl_dtype dtype,
                              nnl_adapter *fresh) {
    nnl_tensor *const from[] = {adapter->a, adapter->b, adapter->base};
    nnl_tensor **const to[] = {&fresh->a, &fresh->b, &fresh->base};
    for (int k = 0; k < 3; k++) {
        if (!from[k] || from[k]->dtype == dtype) continue;
        *to[k] = nnl_parameter_to(ctx, from[k], dtype);
        if (!*to[k]) return ctx->status;
    }
    return NNL_OK;
}

static void exchange(nnl_tensor **held, nnl_tensor **fresh) {
    if (!*fresh) return;
    nnl_tensor *before = *held;
    *held = *fresh;
    *fresh = before;
}

// All are converted before the first takes its place.
nnl_status nnl_adapters_to(nnl_context *ctx, nnl_layer *layer, nnl_dtype dtype) {
    size_t n = (size_t)layer->n_adapters;
    if (n == 0) return NNL_OK;
    nnl_adapter *fresh = nnl_alloc(&ctx->allocator, n * sizeof *fresh);
    if (!fresh) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for adapters");
    memset(fresh, 0, n * sizeof *fresh);
    nnl_status status = NNL_OK;
    for (size_t i = 0; i < n && status == NNL_OK; i++)
        status = convert_one(ctx, &layer->adapters[i], dtype, &fresh[i]);
    for (size_t i = 0; i < n; i++) {
        nnl_adapter *adapter = &layer->adapters[i];
        if (status == NNL_OK) {
            exchange(&adapter->a, &fresh[i].a);
            exchange(&adapter->b, &fresh[i].b);
            exchange(&adapter->base, &fresh[i].base);
        }
        adapter_clear(&fresh[i]);
    }
    nnl_free(&ctx->allocator, fresh);
    return status;
}
