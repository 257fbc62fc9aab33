// transformer.c: TransformerEncoderLayer and TransformerDecoderLayer (Vaswani et al. 2017), composed of the
// attention of attention.c, products and normalisations.
#include "nn/adapter.h"
#include "nn/attention.h"
#include "nn/classes.h"
#include "tensor/apply.h"

#include <math.h>

enum { DIM, HEADS, FEEDFORWARD, DROPOUT, ACTIVATION, EPS, NORM_FIRST, BIAS, DTYPE };

// The tensors of one attention, in this order from its first slot on.
enum { IN_WEIGHT, IN_BIAS, OUT_WEIGHT, OUT_BIAS, ATTENTION_SLOTS };

// Those of the encoder; the decoder has its second attention and third normalisation behind them.
enum {
    SELF,
    LINEAR1 = SELF + ATTENTION_SLOTS,
    LINEAR2 = LINEAR1 + 2,
    NORM1 = LINEAR2 + 2,
    NORM2 = NORM1 + 2,
    ENCODER_SLOTS = NORM2 + 2,
    CROSS = ENCODER_SLOTS,
    NORM3 = CROSS + ATTENTION_SLOTS,
    DECODER_SLOTS = NORM3 + 2
};

// A part of a layer on its way through it: what is added to the stream, given the normalised one. Returns
// new.
typedef nnl_tensor *branch_fn(nnl_context *ctx, nnl_layer *layer, nnl_tensor *x, nnl_tensor *memory);

static const char *who_of(const nnl_layer *layer) {
    return layer->class->variant ? "nn.TransformerDecoderLayer" : "nn.TransformerEncoderLayer";
}

static double active_dropout(const nnl_layer *layer) {
    return layer->training ? layer->option[DROPOUT].d : 0;
}

// Takes x, which may be NULL.
static nnl_tensor *dropped(nnl_context *ctx, const nnl_layer *layer, nnl_tensor *x) {
    double p = active_dropout(layer);
    if (!x || p == 0) return x;
    nnl_tensor *out = nnl_dropout(ctx, x, p);
    nnl_tensor_release(x);
    return out;
}

static nnl_tensor *normalized(nnl_context *ctx, const nnl_layer *layer, int norm, nnl_tensor *x) {
    nnl_shape last = {1, {layer->option[DIM].i}};
    return nnl_layer_norm(ctx, x, &last, layer->tensor[norm], layer->tensor[norm + 1], layer->option[EPS].d);
}

static nnl_tensor *feed_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *x, nnl_tensor *memory) {
    (void)memory;
    const nnl_activation *activation = &nnl_activations[layer->option[ACTIVATION].i];
    nnl_tensor *hidden =
        dropped(ctx, layer, nnl_linear_adapted(ctx, layer, x, LINEAR1, LINEAR1 + 1, activation));
    nnl_tensor *out =
        hidden ? nnl_linear_adapted(ctx, layer, hidden, LINEAR2, LINEAR2 + 1, &nnl_activations[0]) : NULL;
    nnl_tensor_release(hidden);
    return out;
}

// The attention whose tensors begin at `slot`.
static nnl_multi_head multi_head_of(const nnl_layer *layer, int slot) {
    nnl_tensor *const *t = layer->tensor + slot;
    return (nnl_multi_head){.who = who_of(layer),
                            .dim = layer->option[DIM].i,
                            .heads = layer->option[HEADS].i,
                            .in_weight = t[IN_WEIGHT],
                            .in_bias = t[IN_BIAS],
                            .out_weight = t[OUT_WEIGHT],
                            .out_bias = t[OUT_BIAS],
                            .in_adapter = nnl_adapter_of(layer, slot + IN_WEIGHT),
                            .out_adapter = nnl_adapter_of(layer, slot + OUT_WEIGHT),
                            .training = layer->training,
                            .dropout = active_dropout(layer)};
}

static nnl_tensor *attend(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor *x, nnl_tensor *memory) {
    nnl_tensor *out[2] = {NULL, NULL};
    nnl_multi_head_attention(ctx, m, x, memory, memory, out);
    return out[0];
}

// x + branch(norm(x)), or, by default, norm(x + branch(x)). Takes x, which may be NULL.
static nnl_tensor *with_branch(nnl_context *ctx, nnl_layer *layer, int norm, branch_fn *branch, nnl_tensor *x,
                               nnl_tensor *memory) {
    bool first = layer->option[NORM_FIRST].i != 0;
    if (!x) return NULL;
    nnl_tensor *before = first ? normalized(ctx, layer, norm, x) : nnl_tensor_retain(x);
    nnl_tensor *more = before ? dropped(ctx, layer, branch(ctx, layer, before, memory)) : NULL;
    nnl_tensor *sum = more ? nnl_add(ctx, x, more) : NULL;
    nnl_tensor *out = sum && !first ? normalized(ctx, layer, norm, sum) : sum;
    if (out != sum) nnl_tensor_release(sum);
    nnl_tensor_release(before);
    nnl_tensor_release(more);
    nnl_tensor_release(x);
    return out;
}

static nnl_status check(nnl_context *ctx, const nnl_layer *layer) {
    return nnl_check_heads(ctx, who_of(layer), layer->option[DIM].i, layer->option[HEADS].i);
}

static nnl_status reset(nnl_context *ctx, nnl_layer *layer) {
    bool decoder = layer->class->variant == 1;
    nnl_tensor **t = layer->tensor;
    nnl_multi_head self = multi_head_of(layer, SELF), cross;
    nnl_status status = nnl_multi_head_reset(ctx, &self);
    if (status == NNL_OK) status = nnl_linear_reset(ctx, t[LINEAR1], t[LINEAR1 + 1]);
    if (status == NNL_OK) status = nnl_linear_reset(ctx, t[LINEAR2], t[LINEAR2 + 1]);
    if (status == NNL_OK) nnl_apply_fill(t[NORM1], nnl_number_int(1));
    if (status == NNL_OK) nnl_apply_fill(t[NORM2], nnl_number_int(1));
    if (status != NNL_OK || !decoder) return status;
    cross = multi_head_of(layer, CROSS);
    nnl_apply_fill(t[NORM3], nnl_number_int(1));
    return nnl_multi_head_reset(ctx, &cross);
}

// ---- encoder

enum { MASK, PADDING, CAUSAL, CACHE, OFFSET };

static nnl_tensor *encoder_attention(nnl_context *ctx, nnl_layer *layer, nnl_tensor *x, nnl_tensor *memory) {
    (void)memory;
    const nnl_option_value *call = layer->call;
    nnl_multi_head m = multi_head_of(layer, SELF);
    m.mask = call[MASK].tensor;
    m.padding = call[PADDING].tensor;
    m.causal = call[CAUSAL].i != 0;
    m.cache = call[CACHE].tensor;
    m.offset = call[OFFSET].i;
    return attend(ctx, &m, x, x);
}

static nnl_status check_input(nnl_context *ctx, const nnl_layer *layer, const char *name,
                              const nnl_tensor *x) {
    char got[NNL_SHAPE_TEXT];
    int ndim = x->shape.ndim;
    long long dim = (long long)layer->option[DIM].i;
    if ((ndim == 2 || ndim == 3) && x->shape.size[ndim - 1] == dim) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected %s (N, L, %lld) or (L, %lld), got %s", who_of(layer),
                    name, dim, dim, nnl_shape_text(&x->shape, got));
}

static nnl_status encoder_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                  nnl_tensor **out) {
    nnl_status status = check_input(ctx, layer, "input", inputs[0]);
    if (status != NNL_OK) return status;
    nnl_tensor *x = nnl_tensor_retain(inputs[0]);
    x = with_branch(ctx, layer, NORM1, encoder_attention, x, NULL);
    *out = with_branch(ctx, layer, NORM2, feed_forward, x, NULL);
    return *out ? NNL_OK : ctx->status;
}

// ---- decoder

enum {
    TARGET_MASK,
    MEMORY_MASK,
    TARGET_PADDING,
    MEMORY_PADDING,
    TARGET_CAUSAL,
    MEMORY_CAUSAL,
    TARGET_CACHE,
    TARGET_OFFSET,
    MEMORY_CACHE
};

static nnl_tensor *target_attention(nnl_context *ctx, nnl_layer *layer, nnl_tensor *x, nnl_tensor *memory) {
    (void)memory;
    const nnl_option_value *call = layer->call;
    nnl_multi_head m = multi_head_of(layer, SELF);
    m.mask = call[TARGET_MASK].tensor;
    m.padding = call[TARGET_PADDING].tensor;
    m.causal = call[TARGET_CAUSAL].i != 0;
    m.cache = call[TARGET_CACHE].tensor;
    m.offset = call[TARGET_OFFSET].i;
    return attend(ctx, &m, x, x);
}

static nnl_tensor *memory_attention(nnl_context *ctx, nnl_layer *layer, nnl_tensor *x, nnl_tensor *memory) {
    const nnl_option_value *call = layer->call;
    nnl_multi_head m = multi_head_of(layer, CROSS);
    m.mask = call[MEMORY_MASK].tensor;
    m.padding = call[MEMORY_PADDING].tensor;
    m.causal = call[MEMORY_CAUSAL].i != 0;
    m.cache = call[MEMORY_CACHE].tensor;
    m.cached = m.cache && call[TARGET_OFFSET].i > 0;
    return attend(ctx, &m, x, memory);
}

static nnl_status decoder_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                  nnl_tensor **out) {
    nnl_status status = check_input(ctx, layer, "input", inputs[0]);
    if (status == NNL_OK) status = check_input(ctx, layer, "memory", inputs[1]);
    if (status != NNL_OK) return status;
    nnl_tensor *x = nnl_tensor_retain(inputs[0]), *memory = inputs[1];
    x = with_branch(ctx, layer, NORM1, target_attention, x, NULL);
    x = with_branch(ctx, layer, NORM2, memory_attention, x, memory);
    *out = with_branch(ctx, layer, NORM3, feed_forward, x, NULL);
    return *out ? NNL_OK : ctx->status;
}

// ---- records

#define MASK_OPTION(n, text)                                                                                 \
    { .name = n, .type = NNL_OPTION_TENSOR, .doc = text }
#define FLAG(n, value, text)                                                                                 \
    { .name = n, .type = NNL_OPTION_BOOL, .fallback = {value}, .doc = text }

#define SEES_MASK "(L, S), (N * heads, L, S) or (N, heads, L, S): bool, true where blocked, or added"
#define SEES_PADDING "(N, S): bool, true for positions that nobody sees, or added"

static const nnl_option encoder_call[] = {
    [MASK] = MASK_OPTION("src_mask", SEES_MASK),
    [PADDING] = MASK_OPTION("src_key_padding_mask", SEES_PADDING),
    [CAUSAL] = FLAG("is_causal", 0, "whether each position sees itself and earlier ones alone"),
    NNL_CACHE_OPTIONS,
    {.name = NULL}};

static const nnl_option decoder_call[] = {
    [TARGET_MASK] = MASK_OPTION("tgt_mask", SEES_MASK),
    [MEMORY_MASK] = MASK_OPTION("memory_mask", SEES_MASK),
    [TARGET_PADDING] = MASK_OPTION("tgt_key_padding_mask", SEES_PADDING),
    [MEMORY_PADDING] = MASK_OPTION("memory_key_padding_mask", SEES_PADDING),
    [TARGET_CAUSAL] = FLAG("tgt_is_causal", 0, "whether each position sees itself and earlier ones alone"),
    [MEMORY_CAUSAL] = FLAG("memory_is_causal", 0, "the same of the memory's positions"),
    NNL_CACHE_OPTIONS,
    [MEMORY_CACHE] = MASK_OPTION("memory_cache", "(2, N, S, d_model): keys and values of the memory, which a "
                                                 "call at offset 0 writes and later ones read"),
    {.name = NULL}};

#define SIZE(n, is_positional, value, text)                                                                  \
    {                                                                                                        \
        .name = n, .type = NNL_OPTION_INT, .positional = is_positional, .required = is_positional,           \
        .fallback = {value}, .low = 1, .high = INFINITY, .doc = text                                         \
    }

#define OPTIONS                                                                                              \
    {                                                                                                        \
        [DIM] = SIZE("d_model", true, 0, "size of each position's vector"),                                  \
        [HEADS] = SIZE("nhead", true, 0, "heads of attention, which share the dimensions evenly"),           \
        [FEEDFORWARD] = SIZE("dim_feedforward", false, 2048, "size between the two linear layers"),          \
        [DROPOUT] = {.name = "dropout",                                                                      \
                     .type = NNL_OPTION_NUMBER,                                                              \
                     .fallback = {0.1},                                                                      \
                     .low = 0,                                                                               \
                     .high = 1,                                                                              \
                     .doc = "probability of a 0 while training"},                                            \
        [ACTIVATION] = {.name = "activation",                                                                \
                        .type = NNL_OPTION_ACTIVATION,                                                       \
                        .fallback = {NNL_ACTIVATION_RELU},                                                   \
                        .doc = "between the two linear layers"},                                             \
        [EPS] = {.name = "layer_norm_eps",                                                                   \
                 .type = NNL_OPTION_NUMBER,                                                                  \
                 .fallback = {1e-5},                                                                         \
                 .low = 0,                                                                                   \
                 .high = INFINITY,                                                                           \
                 .doc = "added to variances"},                                                               \
        [NORM_FIRST] = FLAG("norm_first", 0, "whether to normalise before each part instead of behind it"),  \
        [BIAS] = FLAG("bias", 1, "whether linear layers and normalisations add one"),                        \
        [DTYPE] = NNL_DTYPE_OPTION                                                                           \
    }

#define ATTENTION(first, prefix)                                                                             \
    [first + IN_WEIGHT] = {.name = prefix ".in_proj_weight", .shape = "3*d_model d_model"},                  \
             [first + IN_BIAS] = {.name = prefix ".in_proj_bias", .shape = "3*d_model", .when = "bias"},     \
             [first + OUT_WEIGHT] = {.name = prefix ".out_proj.weight", .shape = "d_model d_model"},         \
             [first + OUT_BIAS] = {.name = prefix ".out_proj.bias", .shape = "d_model", .when = "bias"}
#define PAIR(first, prefix, weight_shape, bias_shape)                                                        \
    [first] = {.name = prefix ".weight", .shape = weight_shape},                                             \
    [first + 1] = {.name = prefix ".bias", .shape = bias_shape, .when = "bias"}

#define ENCODER                                                                                              \
    ATTENTION(SELF, "self_attn"), PAIR(LINEAR1, "linear1", "dim_feedforward d_model", "dim_feedforward"),    \
        PAIR(LINEAR2, "linear2", "d_model dim_feedforward", "d_model"),                                      \
        PAIR(NORM1, "norm1", "d_model", "d_model"), PAIR(NORM2, "norm2", "d_model", "d_model")

const nnl_layer_class nnl_transformer_classes[] = {
    {.name = "TransformerEncoderLayer",
     .doc = "Attention of a sequence (N, L, d_model) to itself, then two linear layers, each with a residual "
            "connection and a normalisation (Vaswani et al. 2017)",
     .inputs = 1,
     .call = encoder_call,
     .options = OPTIONS,
     .slots = {ENCODER},
     .check = check,
     .reset = reset,
     .forward = encoder_forward,
     .adapts = NNL_ADAPTS_INPUT},
    {.name = "TransformerDecoderLayer",
     .doc = "Attention of a sequence (N, L, d_model) to itself, then to a memory (N, S, d_model), then two "
            "linear layers, each with a residual connection and a normalisation (Vaswani et al. 2017)",
     .inputs = 2,
     .takes = "input memory",
     .call = decoder_call,
     .options = OPTIONS,
     .slots = {ENCODER, ATTENTION(CROSS, "multihead_attn"), PAIR(NORM3, "norm3", "d_model", "d_model")},
     .check = check,
     .reset = reset,
     .forward = decoder_forward,
     .variant = 1,
     .adapts = NNL_ADAPTS_INPUT},
    {.name = NULL},
};
