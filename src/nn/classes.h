// classes.h: the groups of layer classes, one for each file; each ends with a NULL name. A new file of layers
// adds its group here; classes.c has the table over them.
#ifndef NNL_NN_CLASSES_H
#define NNL_NN_CLASSES_H

#include "nn/layer.h"

#define NNL_CLASS_GROUPS(GROUP)                                                                              \
    GROUP(dense)                                                                                             \
    GROUP(conv)                                                                                              \
    GROUP(pool)                                                                                              \
    GROUP(resize)                                                                                            \
    GROUP(activation)                                                                                        \
    GROUP(shape)                                                                                             \
    GROUP(dropout)                                                                                           \
    GROUP(norm)                                                                                              \
    GROUP(embedding)                                                                                         \
    GROUP(recurrent)                                                                                         \
    GROUP(attention)                                                                                         \
    GROUP(heads)                                                                                             \
    GROUP(transformer)                                                                                       \
    GROUP(position)                                                                                          \
    GROUP(loss)

#define NNL_DECLARE_CLASSES(name) extern const nnl_layer_class nnl_##name##_classes[];
NNL_CLASS_GROUPS(NNL_DECLARE_CLASSES)
#undef NNL_DECLARE_CLASSES

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
