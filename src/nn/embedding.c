// embedding.c: Embedding, a table of vectors. The operation is in grad/embedding.c.
#include "nn/adapter.h"
#include "nn/classes.h"
#include "nn/init.h"
#include "tensor/apply.h"

#include <math.h>
#include <string.h>

enum { ROWS, WIDTH, PADDING, MAX_NORM, NORM_TYPE, INIT, DTYPE };
enum { WEIGHT };

static nnl_status check_padding(nnl_context *ctx, const nnl_layer *layer) {
    if (layer->option[PADDING].i <= layer->option[ROWS].i) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                    "nn.Embedding: option 'padding_idx' must be between 1 and %lld, got %lld",
                    (long long)layer->option[ROWS].i, (long long)layer->option[PADDING].i);
}

// The vector of padding starts at 0 and, having no gradient, stays there.
static nnl_status blank_padding(nnl_context *ctx, nnl_layer *layer) {
    nnl_tensor *weight = layer->tensor[WEIGHT];
    int64_t padding = layer->option[PADDING].i;
    if (padding == 0) return NNL_OK;
    nnl_shape shape = {.ndim = 1, .size = {weight->shape.size[1]}};
    nnl_tensor *row = nnl_tensor_alias(weight, &shape, &weight->stride[1], (padding - 1) * weight->stride[0]);
    if (!row) return ctx->status;
    nnl_apply_fill(row, nnl_number_float(0));
    nnl_tensor_release(row);
    return NNL_OK;
}

static nnl_status embedding_reset(nnl_context *ctx, nnl_layer *layer) {
    size_t length;
    const char *rule = nnl_choice_word(NNL_INITIALIZERS, (int)layer->option[INIT].i, &length);
    const nnl_initializer *initializer = nnl_initializer_named(rule, length);
    nnl_status status = check_padding(ctx, layer);
    if (status == NNL_OK) {
        status = initializer ? nnl_initialize_default(ctx, initializer, layer->tensor[WEIGHT])
                             : nnl_init_normal(ctx, layer->tensor[WEIGHT], 0, 1);
    }
    return status == NNL_OK ? blank_padding(ctx, layer) : status;
}

// Rows of B, times A: what the adapter adds to rows of the weight. Returns new.
static nnl_tensor *adapted_rows(nnl_context *ctx, const nnl_adapter *adapter, nnl_tensor *index,
                                const nnl_embedding_options *options) {
    nnl_embedding_options plain = {.who = options->who, .padding = options->padding};
    nnl_tensor *low = nnl_embedding(ctx, index, adapter->b, &plain);
    nnl_tensor *scaled = low ? nnl_mul_number(ctx, low, adapter->alpha / (double)adapter->rank) : NULL;
    nnl_tensor *more = scaled ? nnl_matmul(ctx, scaled, adapter->a) : NULL;
    nnl_tensor_release(low);
    nnl_tensor_release(scaled);
    return more;
}

static nnl_status embedding_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                    nnl_tensor **out) {
    nnl_embedding_options options = {.who = "nn.Embedding",
                                     .padding = layer->option[PADDING].given ? layer->option[PADDING].i
                                                                             : NNL_NO_PADDING,
                                     .max_norm = layer->option[MAX_NORM].d,
                                     .norm_type = layer->option[NORM_TYPE].d};
    const nnl_adapter *adapter = nnl_adapter_of(layer, WEIGHT);
    *out = nnl_embedding(ctx, inputs[0], layer->tensor[WEIGHT], &options);
    if (!*out || !adapter) return *out ? NNL_OK : ctx->status;
    nnl_tensor *rows = *out, *more = adapted_rows(ctx, adapter, inputs[0], &options);
    *out = more ? nnl_add(ctx, rows, more) : NULL;
    nnl_tensor_release(more);
    nnl_tensor_release(rows);
    return *out ? NNL_OK : ctx->status;
}

#define SIZE(n, text)                                                                                        \
    {                                                                                                        \
        .name = n, .type = NNL_OPTION_INT, .positional = true, .required = true, .low = 1, .high = INFINITY, \
        .doc = text                                                                                          \
    }

const nnl_layer_class nnl_embedding_classes[] = {
    {.name = "Embedding",
     .doc =
         "A vector for each of num_embeddings things: positions of any shape, from 1, to (*, embedding_dim)",
     .inputs = 1,
     .options = {[ROWS] = SIZE("num_embeddings", "how many vectors"),
                 [WIDTH] = SIZE("embedding_dim", "size of each vector"),
                 [PADDING] = {.name = "padding_idx",
                              .type = NNL_OPTION_INT,
                              .low = 1,
                              .high = INFINITY,
                              .doc = "position of a vector that starts at 0 and is not trained"},
                 [MAX_NORM] = {.name = "max_norm",
                               .type = NNL_OPTION_NUMBER,
                               .low = 0,
                               .high = INFINITY,
                               .doc = "vectors in use that are longer shrink to this; 0: no limit"},
                 [NORM_TYPE] = {.name = "norm_type",
                                .type = NNL_OPTION_NUMBER,
                                .fallback = {2},
                                .low = 0,
                                .high = INFINITY,
                                .exclusive_low = true,
                                .doc = "p of the norm that max_norm is about"},
                 [INIT] = {.name = "init",
                           .type = NNL_OPTION_CHOICE,
                           .choices = NNL_INITIALIZERS,
                           .doc = "how the vectors start; default: normal, of deviation 1"},
                 [DTYPE] = NNL_DTYPE_OPTION},
     .slots = {{.name = "weight", .shape = "num_embeddings embedding_dim"}},
     .reset = embedding_reset,
     .forward = embedding_forward,
     .adapts = NNL_ADAPTS_ITSELF},
    {.name = NULL},
};
