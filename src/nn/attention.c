// attention.c: multi-head attention: projections, masks and the cache of keys and values around
// grad/attention.c, and MultiHeadAttention's record.
#include "nn/attention.h"
#include "nn/classes.h"
#include "nn/init.h"
#include "tensor/apply.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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

// ---- checks

nnl_status nnl_check_heads(nnl_context *ctx, const char *who, int64_t dim, int64_t heads) {
    if (dim % heads == 0) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                    "%s: the dimensions must be divisible by the heads, got %lld and %lld", who,
                    (long long)dim, (long long)heads);
}

// The size of key (1) and value (2) that their weights take.
static int64_t input_size(const nnl_multi_head *m, int part) {
    const nnl_tensor *own[3] = {m->q_weight, m->k_weight, m->v_weight};
    return own[part] ? own[part]->shape.size[1] : m->dim;
}

static nnl_status check_inputs(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor *const *x) {
    char text[3][NNL_SHAPE_TEXT];
    int ndim = x[0]->shape.ndim;
    bool fits = ndim == 2 || ndim == 3;
    for (int i = 0; i < 3 && fits; i++) {
        fits = x[i]->shape.ndim == ndim && last_size(x[i], 1) == input_size(m, i) &&
               (ndim == 2 || x[i]->shape.size[0] == x[0]->shape.size[0]);
    }
    if (fits && last_size(x[1], 2) == last_size(x[2], 2)) return NNL_OK;
    for (int i = 0; i < 3; i++) nnl_shape_text(&x[i]->shape, text[i]);
    if (x[1] == x[0] && x[2] == x[0]) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected input (N, L, %lld) or (L, %lld), got %s", m->who,
                        (long long)m->dim, (long long)m->dim, text[0]);
    }
    return nnl_fail(
        ctx, NNL_ERR_SHAPE,
        "%s: expected query (N, L, %lld), key (N, S, %lld) and value (N, S, %lld), or all without "
        "N, got %s, %s and %s",
        m->who, (long long)m->dim, (long long)input_size(m, 1), (long long)input_size(m, 2), text[0], text[1],
        text[2]);
}

// ---- projections

// x times rows first * dim to (first + count) * dim of the packed weight, as `count` parts of heads.
static nnl_status project_packed(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor *x, int first,
                                 int count, nnl_tensor **heads) {
    int64_t from = first * m->dim, rows = count * m->dim;
    bool whole = count == 3;
    nnl_tensor *weight =
        whole ? nnl_tensor_retain(m->in_weight) : nnl_slice(ctx, m->in_weight, 0, from, rows, 1);
    nnl_tensor *bias = NULL, *y = NULL;
    if (weight && m->in_bias)
        bias = whole ? nnl_tensor_retain(m->in_bias) : nnl_slice(ctx, m->in_bias, 0, from, rows, 1);
    if (weight && (bias || !m->in_bias)) y = nnl_linear(ctx, x, weight, bias, NNL_UNARY_COUNT);
    y = nnl_adapter_apply(ctx, m->in_adapter, m->training, x, from, rows, y);
    nnl_status status = y ? nnl_split_heads(ctx, y, count, m->heads, heads) : ctx->status;
    nnl_tensor_release(weight);
    nnl_tensor_release(bias);
    nnl_tensor_release(y);
    return status;
}

static nnl_status project_one(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor *x, int part,
                              nnl_tensor **heads) {
    nnl_tensor *const weight[3] = {m->q_weight, m->k_weight, m->v_weight};
    nnl_tensor *bias = m->in_bias ? nnl_slice(ctx, m->in_bias, 0, part * m->dim, m->dim, 1) : NULL, *y = NULL;
    if (bias || !m->in_bias) y = nnl_linear(ctx, x, weight[part], bias, NNL_UNARY_COUNT);
    y = nnl_adapter_apply(ctx, m->part_adapter[part], m->training, x, 0, m->dim, y);
    nnl_status status = y ? nnl_split_heads(ctx, y, 1, m->heads, heads + part) : ctx->status;
    nnl_tensor_release(bias);
    nnl_tensor_release(y);
    return status;
}

// Query, key and value as heads (..., heads, T, dim / heads); inputs that are one tensor share a product.
static nnl_status project(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor *const *x,
                          nnl_tensor **heads) {
    nnl_status status = NNL_OK;
    if (!m->in_weight) {
        for (int i = 0; i < 3 && status == NNL_OK; i++) status = project_one(ctx, m, x[i], i, heads);
        return status;
    }
    bool pair = x[1] == x[2];
    if (pair && x[0] == x[1]) return project_packed(ctx, m, x[0], 0, 3, heads);
    status = project_packed(ctx, m, x[0], 0, 1, heads);
    if (status == NNL_OK) status = project_packed(ctx, m, x[1], 1, pair ? 2 : 1, heads + 1);
    if (status == NNL_OK && !pair) status = project_packed(ctx, m, x[2], 2, 1, heads + 2);
    return status;
}

// ---- more keys: bias_k and bias_v, zeros

// (1, 1, dim), or zeros where it is NULL, as one more row of heads.
static nnl_tensor *one_more(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor *heads, nnl_tensor *row) {
    nnl_shape single = {3, {m->heads, 1, m->dim / m->heads}}, shape = heads->shape;
    shape.size[shape.ndim - 2] = 1;
    nnl_tensor *zeros = row ? NULL : nnl_tensor_new(ctx, heads->dtype, &single);
    if (zeros) nnl_apply_fill(zeros, nnl_number_float(0));
    nnl_tensor *base = row ? nnl_reshape(ctx, row, &single) : zeros;
    nnl_tensor *wide = base ? nnl_expand(ctx, base, &shape) : NULL;
    nnl_tensor *both[2] = {heads, wide};
    nnl_tensor *out = wide ? nnl_cat(ctx, 2, both, shape.ndim - 2) : NULL;
    nnl_tensor_release(base);
    nnl_tensor_release(wide);
    return out;
}

static int more_keys(const nnl_multi_head *m) { return (m->bias_k ? 1 : 0) + (m->zero_attention ? 1 : 0); }

static nnl_status add_keys(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor **heads) {
    nnl_tensor *const row[3] = {NULL, m->bias_k, m->bias_v};
    nnl_status status = NNL_OK;
    for (int i = 1; i < 3 && status == NNL_OK; i++) {
        if (row[i]) status = replace(ctx, &heads[i], one_more(ctx, m, heads[i], row[i]));
        if (status == NNL_OK && m->zero_attention)
            status = replace(ctx, &heads[i], one_more(ctx, m, heads[i], NULL));
    }
    return status;
}

// ---- the cache

// Whether it has room for `needed` keys and values beside these heads of one of the inputs.
static nnl_status check_cache(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor *const *heads,
                              const nnl_tensor *k, int64_t needed) {
    char got[NNL_SHAPE_TEXT];
    const nnl_tensor *cache = m->cache;
    bool batched = k->shape.ndim == 4 && cache->shape.ndim == 4;
    if (nnl_grad_wanted(ctx, heads, m->cached ? 1 : 3) || nnl_requires_grad(cache)) {
        return nnl_fail(ctx, NNL_ERR_STATE, "%s: a cache is for generation: call the layer in nn.no_grad",
                        m->who);
    }
    if (!batched || cache->shape.size[0] != 2 || cache->shape.size[1] != k->shape.size[0] ||
        cache->shape.size[2] < needed || cache->shape.size[3] != m->dim || cache->dtype != k->dtype ||
        !nnl_tensor_is_contiguous(cache)) {
        return nnl_fail(
            ctx, NNL_ERR_SHAPE,
            "%s: expected a cache (2, %lld, %lld or more, %lld) of %s for batched input, got %s of %s",
            m->who, (long long)(batched ? k->shape.size[0] : 1), (long long)needed, (long long)m->dim,
            nnl_dtype_get(k->dtype)->name, nnl_shape_text(&cache->shape, got),
            nnl_dtype_get(cache->dtype)->name);
    }
    return NNL_OK;
}

// Keys (which 0) or values (1) of earlier calls and of this one, which are written behind them.
static nnl_tensor *through_cache(nnl_context *ctx, const nnl_multi_head *m, int which, nnl_tensor *heads) {
    int64_t rows = last_size(heads, 2);
    nnl_tensor *part = nnl_select(ctx, m->cache, 0, which), *all = NULL, *fresh = NULL;
    nnl_tensor *used = part ? nnl_slice(ctx, part, 1, 0, m->offset + rows, 1) : NULL;
    if (used) nnl_split_heads(ctx, used, 1, m->heads, &all);
    if (all) fresh = nnl_slice(ctx, all, 2, m->offset, rows, 1);
    if (fresh) nnl_apply_copy(fresh, heads);
    if (fresh) nnl_tensor_changed(m->cache);
    if (!fresh) nnl_tensor_release(all), all = NULL;
    nnl_tensor_release(part);
    nnl_tensor_release(used);
    nnl_tensor_release(fresh);
    return all;
}

static nnl_status use_cache(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor **heads) {
    nnl_status status = check_cache(ctx, m, heads, heads[1], m->offset + last_size(heads[1], 2));
    for (int i = 1; i < 3 && status == NNL_OK; i++)
        status = replace(ctx, &heads[i], through_cache(ctx, m, i - 1, heads[i]));
    return status;
}

// Heads of the query; those of keys and values of `rows` positions are in the cache.
static nnl_status project_query(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor *query, int64_t rows,
                                nnl_tensor **heads) {
    nnl_status status =
        m->in_weight ? project_packed(ctx, m, query, 0, 1, heads) : project_one(ctx, m, query, 0, heads);
    if (status == NNL_OK) status = check_cache(ctx, m, heads, heads[0], rows);
    for (int i = 1; i < 3 && status == NNL_OK; i++) {
        nnl_tensor *part = nnl_select(ctx, m->cache, 0, i - 1);
        nnl_tensor *used = part ? nnl_slice(ctx, part, 1, 0, rows, 1) : NULL;
        status = used ? nnl_split_heads(ctx, used, 1, m->heads, &heads[i]) : ctx->status;
        nnl_tensor_release(part);
        nnl_tensor_release(used);
    }
    return status;
}

// ---- masks. In all of them true blocks, and numbers are added.

static nnl_status wrong_mask(nnl_context *ctx, const nnl_multi_head *m, const char *name,
                             const nnl_tensor *mask, const nnl_shape *expected) {
    char got[NNL_SHAPE_TEXT], text[NNL_SHAPE_TEXT];
    if (mask->dtype != NNL_BOOL && !nnl_dtype_is_float(mask->dtype)) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected %s of bool or of a float dtype, got %s", m->who,
                        name, nnl_dtype_get(mask->dtype)->name);
    }
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected %s of shape %s, got %s", m->who, name,
                    nnl_shape_text(expected, text), nnl_shape_text(&mask->shape, got));
}

static bool is_mask(const nnl_tensor *mask) {
    return mask->dtype == NNL_BOOL || nnl_dtype_is_float(mask->dtype);
}

// As it broadcasts to `scores`, (N, heads, L, S) or (heads, L, S). Returns new.
static nnl_tensor *attention_mask(nnl_context *ctx, const nnl_multi_head *m, const nnl_shape *scores) {
    nnl_tensor *mask = m->mask;
    const nnl_shape *have = &mask->shape;
    nnl_shape square = nnl_shape_of(2, scores->size + scores->ndim - 2), split = *scores;
    bool batched = scores->ndim == 4, cube = is_mask(mask) && have->ndim == 3 && batched;
    bool fits = cube && have->size[1] == square.size[0] && have->size[2] == square.size[1];
    if (fits && have->size[0] == scores->size[0] * m->heads) return nnl_reshape(ctx, mask, &split);
    split.size[1] = 1;
    if (fits && have->size[0] == scores->size[0]) return nnl_reshape(ctx, mask, &split);
    if (!cube && is_mask(mask) && nnl_shape_broadcasts_to(have, scores)) return nnl_tensor_retain(mask);
    wrong_mask(ctx, m, "attn_mask", mask, &square);
    return NULL;
}

// (N, S) as (N, 1, 1, S), or (S). Returns new.
static nnl_tensor *padding_mask(nnl_context *ctx, const nnl_multi_head *m, const nnl_shape *scores) {
    int64_t keys = scores->size[scores->ndim - 1];
    bool batched = scores->ndim == 4;
    nnl_shape expected = batched ? (nnl_shape){2, {scores->size[0], keys}} : (nnl_shape){1, {keys}};
    nnl_shape wide = {4, {scores->size[0], 1, 1, keys}};
    if (!is_mask(m->padding) || !nnl_shape_equal(&m->padding->shape, &expected)) {
        wrong_mask(ctx, m, "key_padding_mask", m->padding, &expected);
        return NULL;
    }
    return batched ? nnl_reshape(ctx, m->padding, &wide) : nnl_tensor_retain(m->padding);
}

// A bool mask as one to add: -inf where it is true. Takes mask.
static nnl_tensor *to_added(nnl_context *ctx, nnl_tensor *mask, nnl_dtype dtype) {
    nnl_shape none = {.ndim = 0};
    if (mask->dtype != NNL_BOOL) return mask;
    nnl_tensor *low = nnl_tensor_new(ctx, dtype, &none),
               *zero = low ? nnl_tensor_new(ctx, dtype, &none) : NULL;
    if (low) nnl_apply_fill(low, nnl_number_float((double)-INFINITY));
    if (zero) nnl_apply_fill(zero, nnl_number_float(0));
    nnl_tensor *out = zero ? nnl_where(ctx, mask, low, zero) : NULL;
    nnl_tensor_release(low);
    nnl_tensor_release(zero);
    nnl_tensor_release(mask);
    return out;
}

// Both together. Takes a and b, of which either may be NULL for an error that has happened.
static nnl_tensor *both_masks(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b, nnl_dtype dtype) {
    bool bools = a && b && a->dtype == NNL_BOOL && b->dtype == NNL_BOOL;
    if (a && !bools) a = to_added(ctx, a, dtype);
    if (b && !bools) b = to_added(ctx, b, dtype);
    nnl_tensor *out = NULL;
    if (a && b) out = bools ? nnl_compare_op(ctx, NNL_COMPARE_logical_or, a, b) : nnl_add(ctx, a, b);
    nnl_tensor_release(a);
    nnl_tensor_release(b);
    return out;
}

// (L, S) of bool: true where key j is behind query i.
static nnl_tensor *later_keys(nnl_context *ctx, const nnl_shape *scores, int64_t offset) {
    nnl_shape square = nnl_shape_of(2, scores->size + scores->ndim - 2);
    nnl_tensor *mask = nnl_tensor_new(ctx, NNL_BOOL, &square);
    uint8_t *x = mask ? nnl_tensor_data(mask) : NULL;
    for (int64_t i = 0; mask && i < square.size[0]; i++) {
        for (int64_t j = 0; j < square.size[1]; j++) *x++ = j > i + offset;
    }
    return mask;
}

// Nothing blocks the keys that were added behind the others. Takes mask, which may be NULL.
static nnl_tensor *with_more_keys(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor *mask) {
    if (!mask) return NULL;
    nnl_shape shape = mask->shape;
    shape.size[shape.ndim - 1] = more_keys(m);
    nnl_tensor *open = nnl_tensor_new(ctx, mask->dtype, &shape), *both[2] = {mask, open};
    if (open) nnl_apply_fill(open, nnl_number_float(0));
    nnl_tensor *out = open ? nnl_cat(ctx, 2, both, shape.ndim - 1) : NULL;
    nnl_tensor_release(open);
    nnl_tensor_release(mask);
    return out;
}

// All masks as one, into options; scores is the shape without more keys.
static nnl_status find_mask(nnl_context *ctx, const nnl_multi_head *m, const nnl_shape *scores,
                            nnl_dtype dtype, nnl_attention_options *options) {
    nnl_tensor *mask = NULL;
    bool more = more_keys(m) > 0;
    options->causal = m->causal && !more;
    if (!m->mask && !m->padding && !(m->causal && more)) return NNL_OK;
    if (m->mask) mask = attention_mask(ctx, m, scores);
    if (m->mask && !mask) return ctx->status;
    if (m->padding) {
        nnl_tensor *padding = padding_mask(ctx, m, scores);
        mask = m->mask ? both_masks(ctx, mask, padding, dtype) : padding;
        if (!mask) return ctx->status;
    }
    if (m->causal && more) {
        nnl_tensor *later = later_keys(ctx, scores, options->offset);
        mask = mask ? both_masks(ctx, mask, later, dtype) : later;
    }
    options->mask = more ? with_more_keys(ctx, m, mask) : mask;
    return options->mask ? NNL_OK : ctx->status;
}

// ---- whole

// The mean over heads, or all of them.
static nnl_status give_weights(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor *weights,
                               nnl_tensor **out) {
    int64_t heads = weights->shape.ndim - 3;
    *out = m->average_weights ? nnl_mean(ctx, weights, 1, &heads, false) : nnl_tensor_retain(weights);
    return *out ? NNL_OK : ctx->status;
}

static nnl_status attend(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor *const *heads,
                         const nnl_attention_options *options, nnl_tensor **out) {
    nnl_tensor *result[2] = {NULL, NULL};
    nnl_status status = NNL_OK;
    if (m->need_weights) {
        status = nnl_attention_with_weights(ctx, heads[0], heads[1], heads[2], options, result);
    } else {
        result[0] = nnl_attention(ctx, heads[0], heads[1], heads[2], options);
        if (!result[0]) status = ctx->status;
    }
    nnl_tensor *joined = status == NNL_OK ? nnl_join_heads(ctx, result[0]) : NULL;
    out[0] = joined ? nnl_linear(ctx, joined, m->out_weight, m->out_bias, NNL_UNARY_COUNT) : NULL;
    out[0] = nnl_adapter_apply(ctx, m->out_adapter, m->training, joined, 0, m->dim, out[0]);
    if (out[0] && m->need_weights) status = give_weights(ctx, m, result[1], &out[1]);
    nnl_tensor_release(joined);
    nnl_tensor_release(result[0]);
    nnl_tensor_release(result[1]);
    return out[0] ? status : ctx->status;
}

static nnl_status attend_masked(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor **heads,
                                nnl_tensor **out) {
    nnl_attention_options options = {
        .blocked = true, .dropout = m->dropout, .scale = (double)NAN, .offset = m->cache ? m->offset : 0};
    nnl_status status = m->cache && !m->cached ? use_cache(ctx, m, heads) : NNL_OK;
    if (status != NNL_OK) return status;
    nnl_shape scores = heads[0]->shape;
    scores.size[scores.ndim - 1] = last_size(heads[1], 2);
    status = find_mask(ctx, m, &scores, heads[0]->dtype, &options);
    if (status == NNL_OK) status = add_keys(ctx, m, heads);
    if (status == NNL_OK) status = attend(ctx, m, heads, &options, out);
    nnl_tensor_release(options.mask);
    return status;
}

nnl_status nnl_multi_head_attention(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor *query,
                                    nnl_tensor *key, nnl_tensor *value, nnl_tensor **out) {
    nnl_tensor *x[3] = {query, key, value}, *heads[3] = {NULL};
    nnl_status status = check_inputs(ctx, m, x);
    if (status == NNL_OK) {
        status =
            m->cached ? project_query(ctx, m, query, last_size(key, 2), heads) : project(ctx, m, x, heads);
    }
    if (status == NNL_OK) status = attend_masked(ctx, m, heads, out);
    for (int i = 0; i < 3; i++) nnl_tensor_release(heads[i]);
    return status;
}

// ---- first values

nnl_status nnl_linear_reset(nnl_context *ctx, nnl_tensor *weight, nnl_tensor *bias) {
    double bound = 1 / sqrt((double)weight->shape.size[1]);
    nnl_status status = nnl_init_uniform(ctx, weight, -bound, bound);
    return status == NNL_OK && bias ? nnl_init_uniform(ctx, bias, -bound, bound) : status;
}

nnl_status nnl_multi_head_reset(nnl_context *ctx, const nnl_multi_head *m) {
    const nnl_initializer *uniform = nnl_initializer_named("xavier_uniform", strlen("xavier_uniform"));
    nnl_tensor *const projection[4] = {m->in_weight, m->q_weight, m->k_weight, m->v_weight};
    nnl_tensor *const row[2] = {m->bias_k, m->bias_v};
    nnl_status status = NNL_OK;
    for (int i = 0; i < 4 && status == NNL_OK; i++) {
        if (projection[i]) status = nnl_initialize_default(ctx, uniform, projection[i]);
    }
    for (int i = 0; i < 2 && status == NNL_OK; i++) { // Glorot's normal rule, for fans of dim each
        if (row[i]) status = nnl_init_normal(ctx, row[i], 0, sqrt(1 / (double)m->dim));
    }
    return status == NNL_OK ? nnl_linear_reset(ctx, m->out_weight, NULL) : status;
}

// ---- MultiHeadAttention

enum { DIM, HEADS, DROPOUT, BIAS, ADD_BIAS, ADD_ZERO, KEY_DIM, VALUE_DIM, DTYPE };
enum { Q_WEIGHT, K_WEIGHT, V_WEIGHT, IN_WEIGHT, IN_BIAS, BIAS_K, BIAS_V, OUT_WEIGHT, OUT_BIAS };
enum { CALL_MASK, CALL_PADDING, CALL_CAUSAL, CALL_WEIGHTS, CALL_AVERAGE, CALL_CACHE, CALL_OFFSET };

// Left out, kdim and vdim are the dimensions of the query.
static int64_t size_of(const nnl_layer *layer, int copy, int option) {
    (void)copy;
    bool other = option == KEY_DIM || option == VALUE_DIM;
    return layer->option[other && layer->option[option].i == 0 ? DIM : option].i;
}

static int one_copy(const nnl_layer *layer) { return (void)layer, 1; }

static void slot_name(const nnl_layer *layer, const char *slot, int copy, char name[NNL_SLOT_NAME]) {
    (void)layer, (void)copy;
    snprintf(name, NNL_SLOT_NAME, "%s", slot);
}

static const nnl_copies sizes = {.count = one_copy, .name = slot_name, .size = size_of};

// One packed weight where all inputs are of one size, else one for each.
static bool has_slot(const nnl_layer *layer, int slot) {
    int64_t dim = layer->option[DIM].i;
    bool packed = size_of(layer, 0, KEY_DIM) == dim && size_of(layer, 0, VALUE_DIM) == dim;
    if (slot == IN_WEIGHT) return packed;
    return slot > V_WEIGHT || !packed;
}

static nnl_multi_head multi_head_of(const nnl_layer *layer) {
    const nnl_option_value *option = layer->option;
    nnl_tensor *const *tensor = layer->tensor;
    return (nnl_multi_head){.who = "nn.MultiHeadAttention",
                            .dim = option[DIM].i,
                            .heads = option[HEADS].i,
                            .in_weight = tensor[IN_WEIGHT],
                            .q_weight = tensor[Q_WEIGHT],
                            .k_weight = tensor[K_WEIGHT],
                            .v_weight = tensor[V_WEIGHT],
                            .in_bias = tensor[IN_BIAS],
                            .out_weight = tensor[OUT_WEIGHT],
                            .out_bias = tensor[OUT_BIAS],
                            .bias_k = tensor[BIAS_K],
                            .bias_v = tensor[BIAS_V],
                            .in_adapter = nnl_adapter_of(layer, IN_WEIGHT),
                            .part_adapter = {nnl_adapter_of(layer, Q_WEIGHT), nnl_adapter_of(layer, K_WEIGHT),
                                             nnl_adapter_of(layer, V_WEIGHT)},
                            .out_adapter = nnl_adapter_of(layer, OUT_WEIGHT),
                            .training = layer->training,
                            .zero_attention = option[ADD_ZERO].i != 0,
                            .dropout = layer->training ? option[DROPOUT].d : 0};
}

static nnl_status mha_check(nnl_context *ctx, const nnl_layer *layer) {
    return nnl_check_heads(ctx, "nn.MultiHeadAttention", layer->option[DIM].i, layer->option[HEADS].i);
}

static nnl_status mha_reset(nnl_context *ctx, nnl_layer *layer) {
    nnl_multi_head m = multi_head_of(layer);
    return nnl_multi_head_reset(ctx, &m);
}

static nnl_status mha_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                              nnl_tensor **out) {
    const nnl_option_value *call = layer->call;
    nnl_multi_head m = multi_head_of(layer);
    m.mask = call[CALL_MASK].tensor;
    m.padding = call[CALL_PADDING].tensor;
    m.causal = call[CALL_CAUSAL].i != 0;
    m.need_weights = call[CALL_WEIGHTS].i != 0;
    m.average_weights = call[CALL_AVERAGE].i != 0;
    m.cache = call[CALL_CACHE].tensor;
    m.offset = call[CALL_OFFSET].i;
    nnl_tensor *key = inputs[1] ? inputs[1] : inputs[0], *value = inputs[2] ? inputs[2] : key;
    return nnl_multi_head_attention(ctx, &m, inputs[0], key, value, out);
}

static const nnl_option call_options[] = {
    [CALL_MASK] = {.name = "attn_mask",
                   .type = NNL_OPTION_TENSOR,
                   .doc =
                       "(L, S), (N * heads, L, S) or (N, heads, L, S): bool, true where blocked, or added"},
    [CALL_PADDING] = {.name = "key_padding_mask",
                      .type = NNL_OPTION_TENSOR,
                      .doc = "(N, S): bool, true for keys that nobody sees, or added"},
    [CALL_CAUSAL] = {.name = "is_causal",
                     .type = NNL_OPTION_BOOL,
                     .doc = "whether each query sees its own and earlier keys alone"},
    [CALL_WEIGHTS] = {.name = "need_weights",
                      .type = NNL_OPTION_BOOL,
                      .doc = "whether the weights are the second result"},
    [CALL_AVERAGE] = {.name = "average_attn_weights",
                      .type = NNL_OPTION_BOOL,
                      .fallback = {1},
                      .doc = "whether these are the mean over heads, (N, L, S), or (N, heads, L, S)"},
    NNL_CACHE_OPTIONS,
    {.name = NULL}};

#define SIZE(n, is_required, text)                                                                           \
    {                                                                                                        \
        .name = n, .type = NNL_OPTION_INT, .positional = is_required, .required = is_required, .low = 1,     \
        .high = INFINITY, .doc = text                                                                        \
    }
#define FLAG(n, value, text)                                                                                 \
    { .name = n, .type = NNL_OPTION_BOOL, .fallback = {value}, .doc = text }

const nnl_layer_class nnl_attention_classes[] = {
    {.name = "MultiHeadAttention",
     .doc =
         "Attention by several heads: query (N, L, embed_dim), key (N, S, kdim), value (N, S, vdim), or all "
         "without N, to (N, L, embed_dim) (Vaswani et al. 2017). Key is query and value is key where left "
         "out",
     .inputs = 1,
     .takes = "query key value",
     .gives = "output weights",
     .call = call_options,
     .options = {[DIM] = SIZE("embed_dim", true, "size of each query and result"),
                 [HEADS] = SIZE("num_heads", true, "heads, which share the dimensions evenly"),
                 [DROPOUT] = {.name = "dropout",
                              .type = NNL_OPTION_NUMBER,
                              .low = 0,
                              .high = 1,
                              .doc = "probability of a 0 among the weights while training"},
                 [BIAS] = FLAG("bias", 1, "whether projections add one"),
                 [ADD_BIAS] = FLAG("add_bias_kv", 0, "whether one more key and value are learned"),
                 [ADD_ZERO] = FLAG("add_zero_attn", 0, "whether one more key and value are 0"),
                 [KEY_DIM] = SIZE("kdim", false, "size of each key; default: embed_dim"),
                 [VALUE_DIM] = SIZE("vdim", false, "size of each value; default: embed_dim"),
                 [DTYPE] = NNL_DTYPE_OPTION},
     .slots = {[Q_WEIGHT] = {.name = "q_proj_weight", .shape = "embed_dim embed_dim"},
               [K_WEIGHT] = {.name = "k_proj_weight", .shape = "embed_dim kdim"},
               [V_WEIGHT] = {.name = "v_proj_weight", .shape = "embed_dim vdim"},
               [IN_WEIGHT] = {.name = "in_proj_weight", .shape = "3*embed_dim embed_dim"},
               [IN_BIAS] = {.name = "in_proj_bias", .shape = "3*embed_dim", .when = "bias"},
               [BIAS_K] = {.name = "bias_k", .shape = "1 1 embed_dim", .when = "add_bias_kv"},
               [BIAS_V] = {.name = "bias_v", .shape = "1 1 embed_dim", .when = "add_bias_kv"},
               [OUT_WEIGHT] = {.name = "out_proj.weight", .shape = "embed_dim embed_dim"},
               [OUT_BIAS] = {.name = "out_proj.bias", .shape = "embed_dim", .when = "bias"}},
     .copies = &sizes,
     .has = has_slot,
     .check = mha_check,
     .reset = mha_reset,
     .forward = mha_forward,
     .adapts = NNL_ADAPTS_INPUT},
    {.name = NULL},
};
