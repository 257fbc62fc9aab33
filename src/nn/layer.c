// layer.c: what all layers have in common: making them from their declaration, open sizes, loading values.
// The table of classes is in classes.c, the shapes of parameters in slot.c.
#include "nn/layer.h"
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

nnl_layer *nnl_layer_new(nnl_context *ctx, const nnl_layer_class *class) {
    nnl_layer *layer = nnl_alloc(&ctx->allocator, sizeof *layer);
    if (!layer) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a layer");
    *layer = (nnl_layer){.refs = 1, .class = class, .ctx = ctx, .training = true, .dtype = NNL_FLOAT32};
    for (int k = 0; k < NNL_MAX_OPTIONS && class->options[k].type != NNL_OPTION_END; k++) {
        nnl_option_default(&class->options[k], &layer->option[k]);
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
    for (int k = 0; k < NNL_MAX_SLOTS; k++) nnl_tensor_release(layer->tensor[k]);
    nnl_tensor_release(layer->pending);
    nnl_free(&ctx->allocator, layer);
    nnl_context_release(ctx);
}

const nnl_option_value *nnl_layer_option(const nnl_layer *layer, const char *name) {
    int position;
    return nnl_option_named(layer->class->options, name, &position) ? &layer->option[position] : NULL;
}

int nnl_layer_slot(const nnl_layer *layer, const char *name) {
    const nnl_slot *slot = layer->class->slots;
    for (int k = 0; k < NNL_MAX_SLOTS && slot[k].name; k++) {
        if (strcmp(slot[k].name, name) == 0) return nnl_slot_present(layer, &slot[k]) ? k : -1;
    }
    return -1;
}

// ---- making the tensors

static bool sizes_known(const nnl_layer *layer) {
    const nnl_slot *slot = layer->class->slots;
    nnl_shape shape;
    for (int k = 0; k < NNL_MAX_SLOTS && slot[k].name; k++) {
        if (slot[k].shape && nnl_slot_present(layer, &slot[k]) && !nnl_slot_shape(layer, &slot[k], &shape)) {
            return false;
        }
    }
    return true;
}

static nnl_status make_tensor(nnl_context *ctx, nnl_layer *layer, int k) {
    const nnl_slot *slot = &layer->class->slots[k];
    nnl_shape shape;
    nnl_slot_shape(layer, slot, &shape);
    layer->tensor[k] = nnl_tensor_new(ctx, slot->counts ? NNL_INT64 : layer->dtype, &shape);
    if (!layer->tensor[k]) return ctx->status;
    nnl_apply_fill(layer->tensor[k], nnl_number_float(0));
    return slot->buffer ? NNL_OK : nnl_set_requires_grad(ctx, layer->tensor[k], true);
}

static nnl_status make_tensors(nnl_context *ctx, nnl_layer *layer) {
    const nnl_slot *slot = layer->class->slots;
    nnl_status status = NNL_OK;
    for (int k = 0; k < NNL_MAX_SLOTS && slot[k].name && status == NNL_OK; k++) {
        if (slot[k].shape && nnl_slot_present(layer, &slot[k])) status = make_tensor(ctx, layer, k);
    }
    if (status == NNL_OK && layer->class->reset) status = layer->class->reset(ctx, layer);
    return status;
}

// Values that were loaded while sizes were still open (`early`) take the place of the fresh ones.
static void settle_tensors(nnl_layer *layer, nnl_tensor **early, bool made) {
    for (int k = 0; k < NNL_MAX_SLOTS; k++) {
        if (made && !early[k]) continue;
        nnl_tensor_release(layer->tensor[k]);
        layer->tensor[k] = early[k];
    }
    layer->built = made;
}

static nnl_status build_tensors(nnl_context *ctx, nnl_layer *layer) {
    nnl_tensor *early[NNL_MAX_SLOTS];
    memcpy(early, layer->tensor, sizeof early);
    memset(layer->tensor, 0, sizeof layer->tensor);
    nnl_status status = make_tensors(ctx, layer);
    settle_tensors(layer, early, status == NNL_OK);
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
    return sizes_known(layer) ? build_tensors(ctx, layer) : NNL_OK;
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

nnl_status nnl_layer_forward(nnl_context *ctx, nnl_layer *layer, int n, nnl_tensor *const *inputs,
                             nnl_tensor **out) {
    char who[WHO_ROOM];
    nnl_tensor *padded[NNL_LAYER_INPUTS] = {NULL};
    if (n < layer->class->inputs || n > NNL_LAYER_INPUTS) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: expected %d %s, got %d", who_of(layer, who),
                        layer->class->inputs, layer->class->inputs == 1 ? "input" : "inputs", n);
    }
    for (int k = 0; k < n; k++) padded[k] = inputs[k];
    nnl_status status = layer->built ? NNL_OK : nnl_layer_build(ctx, layer, inputs[0]);
    return status == NNL_OK ? layer->class->forward(ctx, layer, padded, out) : status;
}

nnl_status nnl_layer_penalty(nnl_context *ctx, nnl_layer *layer, nnl_tensor **out) {
    *out = NULL;
    return layer->class->penalty && layer->built ? layer->class->penalty(ctx, layer, out) : NNL_OK;
}

// ---- loading and converting

static nnl_status check_shape(nnl_context *ctx, const nnl_layer *layer, int slot, const nnl_shape *expected,
                              const nnl_shape *got) {
    char who[WHO_ROOM], a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    if (nnl_shape_equal(expected, got)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: '%s' has shape %s, cannot load %s", who_of(layer, who),
                    layer->class->slots[slot].name, nnl_shape_text(expected, a), nnl_shape_text(got, b));
}

// While sizes are open: takes those that the values tell, then makes all tensors or at least this one.
static nnl_status open_slot(nnl_context *ctx, nnl_layer *layer, int slot, const nnl_tensor *values) {
    nnl_option_value before[NNL_MAX_OPTIONS];
    nnl_shape shape;
    memcpy(before, layer->option, sizeof before);
    nnl_slot_shape(layer, &layer->class->slots[slot], &shape);
    if (shape.ndim == values->shape.ndim) nnl_slot_close(layer, &layer->class->slots[slot], &values->shape);
    nnl_slot_shape(layer, &layer->class->slots[slot], &shape);
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
    if (!layer->class->slots[slot].shape) return adopt(ctx, layer, slot, values);
    nnl_status status = layer->tensor[slot] ? NNL_OK : open_slot(ctx, layer, slot, values);
    if (status != NNL_OK) return status;
    nnl_tensor *t = layer->tensor[slot];
    status = check_shape(ctx, layer, slot, &t->shape, &values->shape);
    if (status != NNL_OK) return status;
    nnl_apply_copy(t, values);
    nnl_tensor_changed(t);
    return NNL_OK;
}

static nnl_tensor *converted(nnl_context *ctx, const nnl_tensor *t, nnl_dtype dtype) {
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
    nnl_tensor *fresh[NNL_MAX_SLOTS] = {NULL};
    nnl_status status = check_float(ctx, layer, dtype);
    for (int k = 0; k < NNL_MAX_SLOTS && status == NNL_OK; k++) {
        const nnl_tensor *t = layer->tensor[k];
        if (!t || !nnl_dtype_is_float(t->dtype) || t->dtype == dtype) continue;
        fresh[k] = converted(ctx, t, dtype);
        if (!fresh[k]) status = ctx->status;
    }
    for (int k = 0; k < NNL_MAX_SLOTS; k++) {
        nnl_tensor *gone = status == NNL_OK && fresh[k] ? layer->tensor[k] : fresh[k];
        if (status == NNL_OK && fresh[k]) layer->tensor[k] = fresh[k];
        nnl_tensor_release(gone);
    }
    if (status == NNL_OK) note_dtype(layer, dtype);
    return status;
}
