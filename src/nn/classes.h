// classes.h: the groups of layer classes, one for each file; each ends with a NULL name. The table over them
// is in classes.c.
#ifndef NNL_NN_CLASSES_H
#define NNL_NN_CLASSES_H

#include "nn/layer.h"

extern const nnl_layer_class nnl_dense_classes[], nnl_activation_classes[], nnl_shape_classes[],
    nnl_dropout_classes[], nnl_embedding_classes[], nnl_recurrent_classes[], nnl_loss_classes[];

// The option of layers with parameters that nnl_layer_setup reads.
#define NNL_DTYPE_OPTION                                                                                     \
    {                                                                                                        \
        .name = "dtype", .type = NNL_OPTION_CHOICE, .choices = "float32 float64 bfloat16 float16",           \
        .doc = "of the parameters"                                                                           \
    }

// Choices of an `init` option; "default" is the layer's own rule (see nn/init.h for the others).
#define NNL_INITIALIZERS                                                                                     \
    "default uniform normal trunc_normal zeros ones xavier_uniform xavier_normal kaiming_uniform "           \
    "kaiming_normal orthogonal"

// A dimension as scripts count it (from 1, or from the end when negative) as one from 0; -1, and the error
// set, where a tensor of ndim dimensions has it not.
int nnl_layer_dim(nnl_context *ctx, const nnl_layer *layer, int64_t given, int ndim);

#endif
