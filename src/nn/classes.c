// classes.c: the table of all layer classes: a new file of layers adds its group here.
#include "nn/classes.h"

#include <string.h>

static const nnl_layer_class *const groups[] = {
    nnl_dense_classes,     nnl_activation_classes, nnl_shape_classes, nnl_dropout_classes,
    nnl_embedding_classes, nnl_recurrent_classes,  nnl_loss_classes};
#define GROUPS (sizeof groups / sizeof groups[0])

const nnl_layer_class *nnl_layer_class_at(size_t position) {
    for (size_t g = 0; g < GROUPS; g++) {
        for (const nnl_layer_class *class = groups[g]; class->name; class ++) {
            if (position-- == 0) return class;
        }
    }
    return NULL;
}

static bool has_name(const nnl_layer_class *class, const char *name) {
    return strcmp(class->name, name) == 0 || (class->alias && strcmp(class->alias, name) == 0);
}

const nnl_layer_class *nnl_layer_class_named(const char *name) {
    for (size_t g = 0; g < GROUPS; g++) {
        for (const nnl_layer_class *class = groups[g]; class->name; class ++) {
            if (has_name(class, name)) return class;
        }
    }
    return NULL;
}

int nnl_layer_dim(nnl_context *ctx, const nnl_layer *layer, int64_t given, int ndim) {
    if (given >= 1 && given <= ndim) return (int)given - 1;
    if (given < 0 && given >= -ndim) return (int)given + ndim;
    nnl_fail(ctx, NNL_ERR_ARGUMENT, "nn.%s: dimension %lld is not in a tensor of %d dimensions",
             layer->class->name, (long long)given, ndim);
    return -1;
}
