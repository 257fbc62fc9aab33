// heads.c: CausalAttention: attention of projections that were made outside of it, as language models have
// it: heads of queries that share heads of keys and values, rotary positions, a cache for generation.
#include "nn/classes.h"
#include "nn/position.h"
#include "tensor/apply.h"

#include <math.h>

#define WHO "nn.CausalAttention"

enum { HEADS, KV_HEADS, DROPOUT, CAUSAL, ROTARY, BASE, INTERLEAVED, FACTOR, LOW, HIGH, ORIGINAL };
enum { CACHE, OFFSET };

// What a call knows: T positions behind `offset` earlier ones.
typedef struct heads {
    int64_t heads, kv_heads, size; // of a head
    nnl_tensor *part[3];           // queries, keys, values: (..., heads, T, size), owned
} heads;

static int64_t last_size(const nnl_tensor *t, int from_last) {
    return t->shape.size[t->shape.ndim - from_last];
}

// Puts `made` in the place of *t, which is let go of.
static nnl_status replace(nnl_context *ctx, nnl_tensor **t, nnl_tensor *made) {
    if (!made) return ctx->status;
    nnl_tensor_release(*t);
    *t = made;
    return NNL_OK;
}

static int64_t kv_heads_of(const nnl_layer *layer) {
    return layer->option[KV_HEADS].i > 0 ? layer->option[KV_HEADS].i : layer->option[HEADS].i;
}

static nnl_status check(nnl_context *ctx, const nnl_layer *layer) {
    int64_t all = layer->option[HEADS].i, shared = kv_heads_of(layer);
    if (all % shared == 0) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_ARGUMENT, WHO ": num_heads must be divisible by kv_heads, got %lld and %lld",
                    (long long)all, (long long)shared);
}

// ---- parts

static nnl_status wrong_input(nnl_context *ctx, const heads *h, const nnl_tensor *x) {
    char got[NNL_SHAPE_TEXT];
    return nnl_fail(ctx, NNL_ERR_SHAPE,
                    WHO
                    ": expected input (N, T, C) or (T, C) with C a multiple of %lld, the heads of queries, "
                    "keys and values, got %s",
                    (long long)(h->heads + 2 * h->kv_heads), nnl_shape_text(&x->shape, got));
}

static nnl_status check_separate(nnl_context *ctx, const heads *h, nnl_tensor *const *x) {
    char text[3][NNL_SHAPE_TEXT];
    int ndim = x[0]->shape.ndim;
    bool fits = x[1] && x[2] && (ndim == 2 || ndim == 3) && last_size(x[0], 1) == h->heads * h->size;
    for (int i = 1; i < 3 && fits; i++) {
        fits = x[i]->shape.ndim == ndim && last_size(x[i], 1) == h->kv_heads * h->size &&
               last_size(x[i], 2) == last_size(x[0], 2) && x[i]->shape.size[0] == x[0]->shape.size[0];
    }
    if (fits) return NNL_OK;
    if (!x[1] || !x[2])
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, WHO ": expected query, key and value, or one input");
    for (int i = 0; i < 3; i++) nnl_shape_text(&x[i]->shape, text[i]);
    return nnl_fail(
        ctx, NNL_ERR_SHAPE,
        WHO ": expected query (N, T, %lld * size), key and value (N, T, %lld * size), got %s, %s and %s",
        (long long)h->heads, (long long)h->kv_heads, text[0], text[1], text[2]);
}

// Columns `from` and on of x as heads.
static nnl_status take_columns(nnl_context *ctx, nnl_tensor *x, int64_t from, int64_t count, int64_t size,
                               nnl_tensor **out) {
    nnl_tensor *columns = nnl_slice(ctx, x, x->shape.ndim - 1, from * size, count * size, 1);
    nnl_status status = columns ? nnl_split_heads(ctx, columns, 1, count, out) : ctx->status;
    nnl_tensor_release(columns);
    return status;
}

// x has queries, keys and values side by side.
static nnl_status split_packed(nnl_context *ctx, heads *h, nnl_tensor *x) {
    int64_t all = h->heads + 2 * h->kv_heads;
    int ndim = x->shape.ndim;
    if ((ndim != 2 && ndim != 3) || last_size(x, 1) % all != 0 || last_size(x, 1) == 0)
        return wrong_input(ctx, h, x);
    h->size = last_size(x, 1) / all;
    if (h->heads == h->kv_heads) return nnl_split_heads(ctx, x, 3, h->heads, h->part);
    nnl_status status = take_columns(ctx, x, 0, h->heads, h->size, &h->part[0]);
    for (int i = 1; i < 3 && status == NNL_OK; i++) {
        status = take_columns(ctx, x, h->heads + (i - 1) * h->kv_heads, h->kv_heads, h->size, &h->part[i]);
    }
    return status;
}

static nnl_status split_inputs(nnl_context *ctx, heads *h, nnl_tensor *const *x) {
    if (!nnl_dtype_is_float(x[0]->dtype)) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, WHO ": expected input of a float dtype, got %s",
                        nnl_dtype_get(x[0]->dtype)->name);
    }
    if (!x[1] && !x[2]) return split_packed(ctx, h, x[0]);
    h->size = x[0]->shape.ndim > 0 ? last_size(x[0], 1) / h->heads : 0;
    nnl_status status = check_separate(ctx, h, x);
    for (int i = 0; i < 3 && status == NNL_OK; i++)
        status = nnl_split_heads(ctx, x[i], 1, i == 0 ? h->heads : h->kv_heads, &h->part[i]);
    return status;
}

// ---- positions

static nnl_status rotate(nnl_context *ctx, nnl_layer *layer, heads *h) {
    const nnl_option_value *option = layer->option;
    if (option[ROTARY].i == 0) return NNL_OK;
    if (h->size % 2 != 0) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, WHO ": rotary positions need heads of an even size, got %lld",
                        (long long)h->size);
    }
    nnl_rotary rotary = {h->size,       option[BASE].d, option[FACTOR].d,
                         option[LOW].d, option[HIGH].d, option[ORIGINAL].d};
    nnl_dtype dtype = h->part[0]->dtype == NNL_FLOAT64 ? NNL_FLOAT64 : NNL_FLOAT32;
    nnl_tensor *turns =
        nnl_rotary_rows(ctx, layer, &rotary, layer->call[OFFSET].i, last_size(h->part[0], 2), dtype);
    nnl_status status = turns ? NNL_OK : ctx->status;
    for (int i = 0; i < 2 && status == NNL_OK; i++)
        status = replace(ctx, &h->part[i], nnl_rotate(ctx, h->part[i], turns, option[INTERLEAVED].i != 0));
    nnl_tensor_release(turns);
    return status;
}

// ---- the cache

static nnl_status check_cache(nnl_context *ctx, const heads *h, const nnl_tensor *cache, int64_t offset) {
    char got[NNL_SHAPE_TEXT];
    const nnl_tensor *k = h->part[1];
    bool batched = k->shape.ndim == 4;
    int64_t needed = offset + last_size(k, 2), batch = batched ? k->shape.size[0] : 1;
    if (nnl_grad_wanted(ctx, h->part, 3) || nnl_requires_grad(cache))
        return nnl_fail(ctx, NNL_ERR_STATE, WHO ": a cache is for generation: call the layer in nn.no_grad");
    const int64_t *size = cache->shape.size;
    if (batched && cache->shape.ndim == 5 && size[0] == 2 && size[1] == batch && size[2] == h->kv_heads &&
        size[3] >= needed && size[4] == h->size && cache->dtype == k->dtype) {
        return NNL_OK;
    }
    return nnl_fail(
        ctx, NNL_ERR_SHAPE,
        WHO ": expected a cache (2, %lld, %lld, %lld or more, %lld) of %s for batched input, got %s of %s",
        (long long)batch, (long long)h->kv_heads, (long long)needed, (long long)h->size,
        nnl_dtype_get(k->dtype)->name, nnl_shape_text(&cache->shape, got), nnl_dtype_get(cache->dtype)->name);
}

// Keys (which 0) or values (1) of earlier calls and of this one, which are written behind them. Returns new.
static nnl_tensor *through_cache(nnl_context *ctx, nnl_tensor *cache, int64_t offset, int which,
                                 nnl_tensor *fresh) {
    int64_t rows = last_size(fresh, 2);
    nnl_tensor *part = nnl_select(ctx, cache, 0, which);
    nnl_tensor *place = part ? nnl_slice(ctx, part, 2, offset, rows, 1) : NULL;
    if (place) nnl_apply_copy(place, fresh);
    nnl_tensor *all = place ? nnl_slice(ctx, part, 2, 0, offset + rows, 1) : NULL;
    if (place) nnl_tensor_changed(cache);
    nnl_tensor_release(place);
    nnl_tensor_release(part);
    return all;
}

static nnl_status use_cache(nnl_context *ctx, const nnl_layer *layer, heads *h) {
    nnl_tensor *cache = layer->call[CACHE].tensor;
    int64_t offset = layer->call[OFFSET].i;
    if (!cache) return NNL_OK;
    nnl_status status = check_cache(ctx, h, cache, offset);
    for (int i = 1; i < 3 && status == NNL_OK; i++)
        status = replace(ctx, &h->part[i], through_cache(ctx, cache, offset, i - 1, h->part[i]));
    return status;
}

// ---- whole

// (..., heads, T, size) as (..., groups, heads / groups, T, size). Returns new.
static nnl_tensor *grouped(nnl_context *ctx, nnl_tensor *x, int64_t groups) {
    nnl_shape shape = x->shape;
    int at = shape.ndim - 3;
    for (int d = shape.ndim; d > at + 1; d--) shape.size[d] = shape.size[d - 1];
    shape.size[at + 1] = shape.size[at] / groups;
    shape.size[at] = groups;
    shape.ndim++;
    return nnl_reshape(ctx, x, &shape);
}

// Heads of queries see the heads of keys that they share by broadcasting.
static nnl_status group(nnl_context *ctx, heads *h) {
    nnl_status status = NNL_OK;
    for (int i = 0; i < 3 && status == NNL_OK && h->heads != h->kv_heads; i++)
        status = replace(ctx, &h->part[i], grouped(ctx, h->part[i], h->kv_heads));
    return status;
}

static nnl_tensor *ungrouped(nnl_context *ctx, const heads *h, nnl_tensor *x) {
    nnl_shape shape = x->shape;
    int at = shape.ndim - 4;
    if (h->heads == h->kv_heads) return nnl_tensor_retain(x);
    shape.size[at] = h->heads;
    for (int d = at + 1; d < shape.ndim - 1; d++) shape.size[d] = shape.size[d + 1];
    shape.ndim--;
    return nnl_reshape(ctx, x, &shape);
}

static nnl_tensor *attend(nnl_context *ctx, const nnl_layer *layer, heads *h) {
    nnl_attention_options options = {.causal = layer->option[CAUSAL].i != 0,
                                     .dropout = layer->training ? layer->option[DROPOUT].d : 0,
                                     .scale = (double)NAN,
                                     .offset = layer->call[CACHE].tensor ? layer->call[OFFSET].i : 0};
    nnl_tensor *out = nnl_attention(ctx, h->part[0], h->part[1], h->part[2], &options);
    nnl_tensor *flat = out ? ungrouped(ctx, h, out) : NULL;
    nnl_tensor *joined = flat ? nnl_join_heads(ctx, flat) : NULL;
    nnl_tensor_release(out);
    nnl_tensor_release(flat);
    return joined;
}

static nnl_status forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs, nnl_tensor **out) {
    heads h = {.heads = layer->option[HEADS].i, .kv_heads = kv_heads_of(layer)};
    nnl_status status = split_inputs(ctx, &h, inputs);
    if (status == NNL_OK) status = rotate(ctx, layer, &h);
    if (status == NNL_OK) status = use_cache(ctx, layer, &h);
    if (status == NNL_OK) status = group(ctx, &h);
    *out = status == NNL_OK ? attend(ctx, layer, &h) : NULL;
    for (int i = 0; i < 3; i++) nnl_tensor_release(h.part[i]);
    return *out ? NNL_OK : ctx->status;
}

// ---- record

static const nnl_option call_options[] = {
    [CACHE] =
        {.name = "cache",
         .type = NNL_OPTION_TENSOR,
         .doc =
             "(2, N, kv_heads, most, size): keys and values of earlier calls, to which this one's are added "
             "in place"},
    [OFFSET] = {.name = "offset",
                .type = NNL_OPTION_INT,
                .high = 1 << 30,
                .doc = "positions of earlier calls"},
    {.name = NULL}};

#define FLAG(n, value, text)                                                                                 \
    { .name = n, .type = NNL_OPTION_BOOL, .fallback = {value}, .doc = text }
#define NUMBER(n, value, least, text)                                                                        \
    { .name = n, .type = NNL_OPTION_NUMBER, .fallback = {value}, .low = least, .high = INFINITY, .doc = text }

const nnl_layer_class nnl_heads_classes[] = {
    {.name = "CausalAttention",
     .doc = "Attention by several heads over projections made before it: queries, keys and values side by "
            "side in one "
            "(N, T, (num_heads + 2 kv_heads) * size), or three tensors, to (N, T, num_heads * size); without "
            "N too. "
            "Each head of keys and values serves num_heads / kv_heads heads of queries (Ainslie et al. 2023)",
     .inputs = 1,
     .takes = "query key value",
     .call = call_options,
     .options = {[HEADS] = {.name = "num_heads",
                            .type = NNL_OPTION_INT,
                            .positional = true,
                            .required = true,
                            .low = 1,
                            .high = INFINITY,
                            .doc = "heads of queries"},
                 [KV_HEADS] = {.name = "kv_heads",
                               .type = NNL_OPTION_INT,
                               .low = 1,
                               .high = INFINITY,
                               .doc = "heads of keys and values; default: num_heads"},
                 [DROPOUT] = {.name = "dropout",
                              .type = NNL_OPTION_NUMBER,
                              .low = 0,
                              .high = 1,
                              .doc = "probability of a 0 among the weights while training"},
                 [CAUSAL] = FLAG("causal", 1, "whether each position sees itself and earlier ones alone"),
                 [ROTARY] = FLAG("rotary", 0, "whether queries and keys are rotated by their position"),
                 [BASE] = {.name = "rotary_base",
                           .type = NNL_OPTION_NUMBER,
                           .fallback = {10000},
                           .low = 0,
                           .high = INFINITY,
                           .exclusive_low = true,
                           .doc = "pair k turns by position / base^(2 k / size)"},
                 [INTERLEAVED] = FLAG("interleaved", 0,
                                      "whether pairs are neighbours; by default k and k + size / 2 are one"),
                 [FACTOR] = NUMBER("rotary_factor", 1, 1, "by which angles shrink, for longer contexts"),
                 [LOW] = NUMBER("rotary_low", 1, 0, "with rotary_original: turns up to which all of that"),
                 [HIGH] =
                     NUMBER("rotary_high", 4, 0, "with rotary_original: turns from which nothing of that"),
                 [ORIGINAL] =
                     NUMBER("rotary_original", 0, 0,
                            "positions of the training, in which turns are counted; 0: all shrink alike")},
     .check = check,
     .forward = forward},
    {.name = NULL},
};
