// layer.c: what all layers have in common: making them from their declaration, open sizes, loading values.
// The table of classes is in classes.c, the shapes of parameters in slot.c.
#include "nn/layer.h"
#include "nn/adapter.h"
#include "nn/slot.h"
#include "tensor/apply.h"

#include <stdio.h>
#include <string.h>

#define WHO_ROOM 64

// The layer as scripts write it.
static const char *who_of(const nnl_layer *layer, char who[WHO_ROOM]) {
    snprintf(who, WHO_ROOM, "nn.%s", layer->class->name);
    return who;
}

// Room for so many and never less than a class can declare: classes that share a forward ask for slots that
// only some of them have. All NULL.
static nnl_tensor **tensors_new(nnl_context *ctx, int slots) {
    int count = slots < NNL_MAX_SLOTS ? NNL_MAX_SLOTS : slots;
    nnl_tensor **tensors = nnl_alloc(&ctx->allocator, (size_t)count * sizeof *tensors);
    if (!tensors) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a layer");
    for (int k = 0; k < count; k++) tensors[k] = NULL;
    return tensors;
}

static void tensors_free(nnl_context *ctx, nnl_tensor **tensors, int count) {
    for (int k = 0; k < count; k++) nnl_tensor_release(tensors[k]);
    nnl_free(&ctx->allocator, tensors);
}

nnl_layer *nnl_layer_new(nnl_context *ctx, const nnl_layer_class *class) {
    nnl_layer *layer = nnl_alloc(&ctx->allocator, sizeof *layer);
    if (!layer) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a layer");
    *layer = (nnl_layer){.refs = 1, .class = class, .ctx = ctx, .training = true, .dtype = NNL_FLOAT32};
    for (int k = 0; k < NNL_MAX_OPTIONS && class->options[k].type != NNL_OPTION_END; k++) {
        nnl_option_default(&class->options[k], &layer->option[k]);
    }
    layer->slots = nnl_slot_count(layer);
    layer->tensor = tensors_new(ctx, layer->slots);
    if (!layer->tensor) {
        nnl_free(&ctx->allocator, layer);
        return NULL;
    }
    nnl_context_retain(ctx);
    return layer;
}

nnl_layer *nnl_layer_retain(nnl_layer *layer) {
    layer->refs++;
    return layer;
}

void nnl_layer_release(nnl_layer *layer) {
    if (!layer || --layer->refs > 0) return;
    nnl_context *ctx = layer->ctx;
    nnl_adapters_drop(layer);
    tensors_free(ctx, layer->tensor, layer->slots);
    nnl_tensor_release(layer->table);
    nnl_tensor_release(layer->pending);
    nnl_free(&ctx->allocator, layer);
    nnl_context_release(ctx);
}

const nnl_option_value *nnl_layer_option(const nnl_layer *layer, const char *name) {
    int position;
    return nnl_option_named(layer->class->options, name, &position) ? &layer->option[position] : NULL;
}

int nnl_layer_slot(const nnl_layer *layer, const char *name) {
    char room[NNL_SLOT_NAME];
    for (int k = 0; k < layer->slots; k++) {
        if (strcmp(nnl_layer_slot_name(layer, k, room), name) == 0)
            return nnl_layer_has_slot(layer, k) ? k : -1;
    }
    return -1;
}

// ---- making the tensors

static bool is_shaped(const nnl_layer *layer, int k) {
    return nnl_layer_slot_at(layer, k)->shape && nnl_layer_has_slot(layer, k);
}

static bool sizes_known(const nnl_layer *layer) {
    nnl_shape shape;
    for (int k = 0; k < layer->slots; k++) {
        if (is_shaped(layer, k) && !nnl_slot_shape(layer, k, &shape)) return false;
    }
    return true;
}

// Options that say how many slots there are have their values now.
static nnl_status count_slots(nnl_context *ctx, nnl_layer *layer) {
    int count = nnl_slot_count(layer);
    if (count == layer->slots) return NNL_OK;
    nnl_tensor **tensors = tensors_new(ctx, count);
    if (!tensors) return ctx->status;
    tensors_free(ctx, layer->tensor, layer->slots);
    layer->tensor = tensors;
    layer->slots = count;
    return NNL_OK;
}

static nnl_status make_tensor(nnl_context *ctx, nnl_layer *layer, int k) {
    nnl_shape shape;
    nnl_slot_shape(layer, k, &shape);
    bool counts = nnl_layer_slot_at(layer, k)->counts;
    layer->tensor[k] = nnl_tensor_new(ctx, counts ? NNL_INT64 : layer->dtype, &shape);
    if (!layer->tensor[k]) return ctx->status;
    if (!ctx->bare_layers) nnl_apply_fill(layer->tensor[k], nnl_number_float(0));
    return nnl_layer_slot_at(layer, k)->buffer ? NNL_OK : nnl_set_requires_grad(ctx, layer->tensor[k], true);
}

static nnl_status make_tensors(nnl_context *ctx, nnl_layer *layer) {
    nnl_status status = NNL_OK;
    for (int k = 0; k < layer->slots && status == NNL_OK; k++) {
        if (is_shaped(layer, k)) status = make_tensor(ctx, layer, k);
    }
    if (status == NNL_OK && layer->class->reset && !ctx->bare_layers)
        status = layer->class->reset(ctx, layer);
    return status;
}

// Those of `given` that are there change places with the layer's own.
static void exchange_tensors(nnl_layer *layer, nnl_tensor **given) {
    for (int k = 0; k < layer->slots; k++) {
        if (!given[k]) continue;
        nnl_tensor *held = layer->tensor[k];
        layer->tensor[k] = given[k];
        given[k] = held;
    }
}

static nnl_status build_tensors(nnl_context *ctx, nnl_layer *layer) {
    nnl_tensor **early = layer->tensor, **fresh = tensors_new(ctx, layer->slots);
    if (!fresh) return ctx->status;
    layer->tensor = fresh;
    nnl_status status = make_tensors(ctx, layer);
    if (status == NNL_OK) exchange_tensors(layer, early); // what was loaded early stays
    if (status != NNL_OK) layer->tensor = early;
    tensors_free(ctx, status == NNL_OK ? early : fresh, layer->slots);
    layer->built = status == NNL_OK;
    return status;
}

static void take_dtype(nnl_layer *layer) {
    int position;
    size_t length;
    char name[16] = {0};
    const nnl_option *option = nnl_option_named(layer->class->options, "dtype", &position);
    if (!option || !layer->option[position].given) return;
    const char *word = nnl_choice_word(option->choices, (int)layer->option[position].i, &length);
    if (length < sizeof name) memcpy(name, word, length);
    nnl_dtype_named(name, &layer->dtype);
}

// The option tells what the parameters are now, so that a saved layer is made again as it is.
static void note_dtype(nnl_layer *layer, nnl_dtype dtype) {
    int position;
    const char *name = nnl_dtype_get(dtype)->name;
    const nnl_option *option = nnl_option_named(layer->class->options, "dtype", &position);
    layer->dtype = dtype;
    if (!option) return;
    layer->option[position].i = nnl_choice_position(option->choices, name, strlen(name));
    layer->option[position].given = true;
}

nnl_status nnl_layer_setup(nnl_context *ctx, nnl_layer *layer) {
    char who[WHO_ROOM];
    const nnl_option *option = layer->class->options;
    who_of(layer, who);
    for (int k = 0; k < NNL_MAX_OPTIONS && option[k].type != NNL_OPTION_END; k++) {
        nnl_status status = nnl_option_check(ctx, who, &option[k], &layer->option[k]);
        if (status != NNL_OK) return status;
    }
    nnl_status status = layer->class->check ? layer->class->check(ctx, layer) : NNL_OK;
    if (status != NNL_OK) return status;
    take_dtype(layer);
    status = count_slots(ctx, layer);
    return status == NNL_OK && sizes_known(layer) ? build_tensors(ctx, layer) : status;
}

nnl_status nnl_layer_build(nnl_context *ctx, nnl_layer *layer, const nnl_tensor *x) {
    char who[WHO_ROOM];
    if (layer->built) return NNL_OK;
    nnl_status status = layer->class->infer ? layer->class->infer(ctx, layer, x) : NNL_OK;
    if (status != NNL_OK) return status;
    if (!sizes_known(layer)) {
        return nnl_fail(ctx, NNL_ERR_STATE, "%s: sizes are still open after the first input",
                        who_of(layer, who));
    }
    return build_tensors(ctx, layer);
}

// ---- use

static nnl_status check_call(nnl_context *ctx, const nnl_layer *layer, const nnl_option_value *call) {
    char who[WHO_ROOM];
    const nnl_option *option = layer->class->call;
    for (int k = 0; option && option[k].type != NNL_OPTION_END; k++) {
        nnl_status status = nnl_option_check(ctx, who_of(layer, who), &option[k], &call[k]);
        if (status != NNL_OK) return status;
    }
    return NNL_OK;
}

// Results of a forward that failed half way are let go.
static nnl_status run_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                              const nnl_option_value *call, nnl_tensor **out) {
    char who[WHO_ROOM];
    nnl_status status = check_call(ctx, layer, call);
    for (int k = 0; k < NNL_LAYER_RESULTS; k++) out[k] = NULL;
    if (status != NNL_OK) return status;
    bool stands_in = layer->n_adapters > 0 && layer->class->adapts == NNL_ADAPTS_WEIGHT;
    if (stands_in && (status = nnl_adapters_begin(ctx, layer)) != NNL_OK) return status;
    layer->call = call;
    status = layer->class->forward(ctx, layer, inputs, out);
    layer->call = NULL;
    if (stands_in) nnl_adapters_end(layer);
    if (status == NNL_OK && nnl_pool_stops(ctx->pool)) status = nnl_check_stop(ctx, who_of(layer, who));
    for (int k = 0; k < NNL_LAYER_RESULTS && status != NNL_OK; k++) {
        nnl_tensor_release(out[k]);
        out[k] = NULL;
    }
    return status;
}

void nnl_layer_call_defaults(const nnl_layer *layer, nnl_option_value call[NNL_CALL_OPTIONS]) {
    const nnl_option *option = layer->class->call;
    for (int k = 0; option && option[k].type != NNL_OPTION_END; k++) nnl_option_default(&option[k], &call[k]);
}

nnl_status nnl_layer_forward(nnl_context *ctx, nnl_layer *layer, int n, nnl_tensor *const *inputs,
                             const nnl_option_value *call, nnl_tensor *out[NNL_LAYER_RESULTS]) {
    char who[WHO_ROOM];
    nnl_tensor *padded[NNL_LAYER_INPUTS] = {NULL};
    nnl_option_value defaults[NNL_CALL_OPTIONS];
    if (n < layer->class->inputs || n > NNL_LAYER_INPUTS) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: expected %d %s, got %d", who_of(layer, who),
                        layer->class->inputs, layer->class->inputs == 1 ? "input" : "inputs", n);
    }
    for (int k = 0; k < n; k++) padded[k] = inputs[k];
    nnl_status status = layer->built ? NNL_OK : nnl_layer_build(ctx, layer, inputs[0]);
    if (status != NNL_OK) return status;
    if (!call) nnl_layer_call_defaults(layer, defaults);
    return run_forward(ctx, layer, padded, call ? call : defaults, out);
}

nnl_status nnl_layer_penalty(nnl_context *ctx, nnl_layer *layer, nnl_tensor **out) {
    *out = NULL;
    return layer->class->penalty && layer->built ? layer->class->penalty(ctx, layer, out) : NNL_OK;
}

// ---- loading and converting

static nnl_status check_shape(nnl_context *ctx, const nnl_layer *layer, int slot, const nnl_shape *expected,
                              const nnl_shape *got) {
    char who[WHO_ROOM], a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT], name[NNL_SLOT_NAME];
    if (nnl_shape_equal(expected, got)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: '%s' has shape %s, cannot load %s", who_of(layer, who),
                    nnl_layer_slot_name(layer, slot, name), nnl_shape_text(expected, a),
                    nnl_shape_text(got, b));
}

// While sizes are open: takes those that the values tell, then makes all tensors or at least this one.
static nnl_status open_slot(nnl_context *ctx, nnl_layer *layer, int slot, const nnl_tensor *values) {
    nnl_option_value before[NNL_MAX_OPTIONS];
    nnl_shape shape;
    memcpy(before, layer->option, sizeof before);
    nnl_slot_shape(layer, slot, &shape);
    if (shape.ndim == values->shape.ndim) nnl_slot_close(layer, slot, &values->shape);
    nnl_slot_shape(layer, slot, &shape);
    nnl_status status = check_shape(ctx, layer, slot, &shape, &values->shape);
    if (status == NNL_OK) {
        status = sizes_known(layer) ? build_tensors(ctx, layer) : make_tensor(ctx, layer, slot);
    }
    if (status != NNL_OK) memcpy(layer->option, before, sizeof before);
    return status;
}

// A slot without a declared shape is what it was given.
static nnl_status adopt(nnl_context *ctx, nnl_layer *layer, int slot, const nnl_tensor *values) {
    nnl_tensor *copy = nnl_tensor_new(ctx, values->dtype, &values->shape);
    if (!copy) return ctx->status;
    nnl_apply_copy(copy, values);
    nnl_tensor_release(layer->tensor[slot]);
    layer->tensor[slot] = copy;
    return NNL_OK;
}

nnl_status nnl_layer_load(nnl_context *ctx, nnl_layer *layer, int slot, const nnl_tensor *values) {
    if (!nnl_layer_slot_at(layer, slot)->shape) return adopt(ctx, layer, slot, values);
    nnl_status status = layer->tensor[slot] ? NNL_OK : open_slot(ctx, layer, slot, values);
    if (status != NNL_OK) return status;
    nnl_tensor *t = layer->tensor[slot];
    status = check_shape(ctx, layer, slot, &t->shape, &values->shape);
    if (status != NNL_OK) return status;
    nnl_apply_copy(t, values);
    nnl_tensor_changed(t);
    return NNL_OK;
}

// The same elements as values, as what t is to its layer.
static nnl_tensor *stand_in(nnl_context *ctx, const nnl_tensor *t, const nnl_tensor *values) {
    nnl_tensor *look = nnl_tensor_detach(values);
    if (!look || !nnl_requires_grad(t)) return look;
    if (nnl_set_requires_grad(ctx, look, true) == NNL_OK) return look;
    nnl_tensor_release(look);
    return NULL;
}

// A matrix may lie as its transpose: products read both.
static bool is_matrix(const nnl_tensor *t) {
    return t->shape.ndim == 2 && t->stride[0] == 1 && t->stride[1] == t->shape.size[0];
}

nnl_status nnl_layer_adopt(nnl_context *ctx, nnl_layer *layer, int slot, const nnl_tensor *values) {
    nnl_tensor *t = layer->tensor[slot];
    bool fits = t && t->refs == 1 && t->dtype == values->dtype &&
                (nnl_tensor_is_contiguous(values) || is_matrix(values)) &&
                nnl_shape_equal(&t->shape, &values->shape);
    if (!fits) return nnl_layer_load(ctx, layer, slot, values);
    nnl_tensor *look = stand_in(ctx, t, values);
    if (!look) return ctx->status;
    layer->tensor[slot] = look;
    nnl_tensor_release(t);
    return NNL_OK;
}

nnl_tensor *nnl_parameter_to(nnl_context *ctx, const nnl_tensor *t, nnl_dtype dtype) {
    nnl_tensor *copy = nnl_tensor_new(ctx, dtype, &t->shape);
    if (!copy) return NULL;
    nnl_apply_copy(copy, t);
    if (!nnl_requires_grad(t) || nnl_set_requires_grad(ctx, copy, true) == NNL_OK) return copy;
    nnl_tensor_release(copy);
    return NULL;
}

static nnl_status check_float(nnl_context *ctx, const nnl_layer *layer, nnl_dtype dtype) {
    char who[WHO_ROOM];
    if (nnl_dtype_is_float(dtype)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: to: expected a float dtype, got \"%s\"", who_of(layer, who),
                    nnl_dtype_get(dtype)->name);
}

// All are converted before the first takes its place, so that a failure changes nothing.
nnl_status nnl_layer_to(nnl_context *ctx, nnl_layer *layer, nnl_dtype dtype) {
    nnl_status status = check_float(ctx, layer, dtype);
    nnl_tensor **fresh = status == NNL_OK ? tensors_new(ctx, layer->slots) : NULL;
    if (!fresh) return ctx->status;
    for (int k = 0; k < layer->slots && status == NNL_OK; k++) {
        const nnl_tensor *t = layer->tensor[k];
        if (!t || !nnl_dtype_is_float(t->dtype) || t->dtype == dtype) continue;
        fresh[k] = nnl_parameter_to(ctx, t, dtype);
        if (!fresh[k]) status = ctx->status;
    }
    if (status == NNL_OK) status = nnl_adapters_to(ctx, layer, dtype);
    if (status == NNL_OK) exchange_tensors(layer, fresh);
    tensors_free(ctx, fresh, layer->slots);
    if (status == NNL_OK) note_dtype(layer, dtype);
    return status;
}
