// attention.c: scaled dot product attention (Vaswani et al. 2017) as one operation, whose work is in
// attend.c, and the split of a projection into heads. Recorded walks are composed of other operations.
#include "grad/attend.h"
#include "grad/records.h"

#include <math.h>
#include <string.h>

#define WHO "scaled_dot_product_attention"

enum { QUERY, KEY, VALUE, MASK, OUT, STATISTICS, SAVED };

typedef struct attention_state {
    bool allowed, causal;
    int64_t offset;
    double scale, dropout;
    uint64_t seed, block;
} attention_state;

static int64_t last_size(const nnl_tensor *t, int from_last) {
    return t->shape.size[t->shape.ndim - from_last];
}

static bool is_native(nnl_dtype dtype) { return dtype == NNL_FLOAT32 || dtype == NNL_FLOAT64; }

// ---- checks

// (..., L, S)
static nnl_shape scores_shape(const nnl_tensor *q, const nnl_tensor *k) {
    nnl_shape shape = q->shape;
    shape.size[shape.ndim - 1] = last_size(k, 2);
    return shape;
}

static nnl_status check_shapes(nnl_context *ctx, nnl_tensor *const *x) {
    char q[NNL_SHAPE_TEXT], k[NNL_SHAPE_TEXT], v[NNL_SHAPE_TEXT];
    bool fits = x[0]->shape.ndim >= 2 && x[1]->shape.ndim >= 2 && x[2]->shape.ndim >= 2 &&
                last_size(x[0], 1) == last_size(x[1], 1) && last_size(x[1], 2) == last_size(x[2], 2);
    if (fits) return NNL_OK;
    return nnl_fail(
        ctx, NNL_ERR_SHAPE,
        WHO ": expected query (..., L, E), key (..., S, E) and value (..., S, V), got %s, %s and %s",
        nnl_shape_text(&x[0]->shape, q), nnl_shape_text(&x[1]->shape, k), nnl_shape_text(&x[2]->shape, v));
}

static nnl_status check_dtypes(nnl_context *ctx, nnl_tensor *const *x) {
    if (nnl_dtype_is_float(x[0]->dtype) && x[1]->dtype == x[0]->dtype && x[2]->dtype == x[0]->dtype)
        return NNL_OK;
    return nnl_fail(
        ctx, NNL_ERR_DTYPE, WHO ": expected query, key and value of one float dtype, got %s, %s and %s",
        nnl_dtype_get(x[0]->dtype)->name, nnl_dtype_get(x[1]->dtype)->name, nnl_dtype_get(x[2]->dtype)->name);
}

static nnl_status check_mask(nnl_context *ctx, const nnl_tensor *mask, const nnl_shape *scores) {
    char got[NNL_SHAPE_TEXT], expected[NNL_SHAPE_TEXT];
    if (!mask) return NNL_OK;
    if (mask->dtype != NNL_BOOL && !nnl_dtype_is_float(mask->dtype)) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, WHO ": expected attn_mask of bool or of a float dtype, got %s",
                        nnl_dtype_get(mask->dtype)->name);
    }
    if (nnl_shape_broadcasts_to(&mask->shape, scores)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, WHO ": expected attn_mask that broadcasts to %s, got %s",
                    nnl_shape_text(scores, expected), nnl_shape_text(&mask->shape, got));
}

static nnl_status check_dropout(nnl_context *ctx, double p) {
    if (p >= 0 && p <= 1) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_ARGUMENT, WHO ": dropout_p must be between 0 and 1, got %.14g", p);
}

// ---- operands

// The shape that the dimensions before the last two of all three broadcast to.
static nnl_status batch_shape(nnl_context *ctx, nnl_tensor *const *x, nnl_shape *batch) {
    nnl_shape part[3], both;
    char q[NNL_SHAPE_TEXT], k[NNL_SHAPE_TEXT], v[NNL_SHAPE_TEXT];
    for (int i = 0; i < 3; i++) part[i] = nnl_shape_of(x[i]->shape.ndim - 2, x[i]->shape.size);
    if (nnl_shape_broadcast(ctx, WHO, &part[0], &part[1], &both) == NNL_OK &&
        nnl_shape_broadcast(ctx, WHO, &both, &part[2], batch) == NNL_OK) {
        return NNL_OK;
    }
    return nnl_fail(ctx, NNL_ERR_SHAPE, WHO ": the batches of query %s, key %s and value %s do not broadcast",
                    nnl_shape_text(&x[0]->shape, q), nnl_shape_text(&x[1]->shape, k),
                    nnl_shape_text(&x[2]->shape, v));
}

// x in the batch's shape, its rows together; x itself where it is so. Returns new.
static nnl_tensor *operand(nnl_context *ctx, nnl_tensor *x, const nnl_shape *batch) {
    nnl_shape shape = *batch;
    shape.size[shape.ndim++] = last_size(x, 2);
    shape.size[shape.ndim++] = last_size(x, 1);
    bool same = nnl_shape_equal(&shape, &x->shape);
    nnl_tensor *wide = same ? nnl_tensor_retain(x) : nnl_expand(ctx, x, &shape);
    if (!wide || nnl_attend_reads(wide)) return wide;
    nnl_tensor *together = nnl_contiguous(ctx, wide);
    nnl_tensor_release(wide);
    return together;
}

// A look at t as `shape`, to which it broadcasts. Returns new, outside the graph.
static nnl_tensor *broadcast(const nnl_tensor *t, const nnl_shape *shape) {
    int64_t stride[NNL_MAX_DIMS] = {0};
    int more = shape->ndim - t->shape.ndim;
    for (int d = 0; d < t->shape.ndim; d++) stride[more + d] = t->shape.size[d] == 1 ? 0 : t->stride[d];
    return nnl_tensor_alias(t, shape, stride, t->offset);
}

// The mask as attend.c reads it: of the scores' shape, the elements of a row together. Returns new.
static nnl_tensor *readable_mask(nnl_context *ctx, const nnl_tensor *mask, const nnl_shape *scores) {
    nnl_tensor *wide = broadcast(mask, scores);
    if (!wide || scores->size[scores->ndim - 1] <= 1 || wide->stride[scores->ndim - 1] == 1) return wide;
    nnl_shape own = mask->shape;
    nnl_tensor_release(wide);
    if (own.ndim == 0) own.ndim = 1;
    own.size[own.ndim - 1] = scores->size[scores->ndim - 1];
    nnl_tensor *copy = nnl_tensor_new(ctx, mask->dtype, &own);
    if (!copy) return NULL;
    nnl_try_copy(copy, mask);
    wide = broadcast(copy, scores);
    nnl_tensor_release(copy);
    return wide;
}

// A new tensor whose memory has the order of t's dimensions, but for the last one, which is innermost.
static nnl_tensor *alike(nnl_context *ctx, const nnl_tensor *t, int64_t last) {
    int order[NNL_MAX_DIMS], ndim = t->shape.ndim;
    nnl_shape shape = t->shape, memory = {.ndim = ndim};
    int64_t stride[NNL_MAX_DIMS];
    shape.size[ndim - 1] = last;
    for (int d = 0; d < ndim; d++) {
        int at = d;
        for (; d < ndim - 1 && at > 0 && t->stride[order[at - 1]] < t->stride[d]; at--)
            order[at] = order[at - 1];
        order[at] = d;
    }
    for (int d = 0; d < ndim; d++) memory.size[d] = shape.size[order[d]];
    nnl_tensor *out = nnl_tensor_new(ctx, t->dtype, &memory);
    if (!out) return NULL;
    nnl_shape_strides(&memory, stride);
    for (int d = 0; d < ndim; d++) out->stride[order[d]] = stride[d];
    out->shape = shape;
    return out;
}

static nnl_attend attend_of(const attention_state *s, nnl_tensor *const *x, nnl_tensor *mask) {
    return (nnl_attend){.q = x[QUERY],
                        .k = x[KEY],
                        .v = x[VALUE],
                        .mask = mask,
                        .allowed = s->allowed,
                        .causal = s->causal,
                        .offset = s->offset,
                        .scale = s->scale,
                        .dropout = s->dropout,
                        .seed = s->seed,
                        .block = s->block};
}

// ---- forward

static nnl_status attention_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                     nnl_tensor **dx);

static const nnl_op attention_record = {.name = WHO, .outputs = 1, .backward = attention_backward};

static nnl_status record(nnl_context *ctx, const attention_state *s, nnl_tensor *const *x, nnl_tensor *out,
                         nnl_tensor *statistics) {
    return nnl_record(ctx, &(nnl_recording){.op = &attention_record,
                                            .n_inputs = 4,
                                            .inputs = x,
                                            .n_outputs = 1,
                                            .outputs = &out,
                                            .n_saved = SAVED,
                                            .saved = {x[QUERY], x[KEY], x[VALUE], x[MASK], out, statistics},
                                            .state = s,
                                            .state_size = sizeof *s});
}

static nnl_tensor *statistics_new(nnl_context *ctx, const nnl_tensor *q) {
    nnl_shape shape = q->shape;
    shape.size[shape.ndim - 1] = 2;
    return nnl_tensor_new(ctx, NNL_FLOAT64, &shape);
}

// x: query, key, value and mask, which are ready to be read.
static nnl_tensor *fused(nnl_context *ctx, const attention_state *s, nnl_tensor *const *x) {
    nnl_shape scores = scores_shape(x[QUERY], x[KEY]);
    bool recorded = nnl_grad_wanted(ctx, x, 4);
    nnl_tensor *mask = x[MASK] ? readable_mask(ctx, x[MASK], &scores) : NULL;
    nnl_tensor *out = mask || !x[MASK] ? alike(ctx, x[QUERY], last_size(x[VALUE], 1)) : NULL;
    nnl_tensor *statistics = out && recorded ? statistics_new(ctx, x[QUERY]) : NULL;
    nnl_status status = out && (statistics || !recorded) ? NNL_OK : ctx->status;
    nnl_attend a = attend_of(s, x, mask);
    if (status == NNL_OK) status = nnl_attend_forward(ctx, &a, out, statistics);
    if (status == NNL_OK && recorded) status = record(ctx, s, x, out, statistics);
    nnl_tensor_release(mask);
    nnl_tensor_release(statistics);
    if (status == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

static attention_state state_of(nnl_context *ctx, nnl_tensor *const *x, const nnl_attention_options *o) {
    attention_state s = {.allowed = !o->blocked,
                         .causal = o->causal,
                         .offset = o->offset,
                         .scale = isnan(o->scale) ? 1 / sqrt((double)last_size(x[QUERY], 1)) : o->scale,
                         .dropout = o->dropout};
    nnl_attend a = attend_of(&s, x, NULL);
    s.seed = ctx->random.seed;
    if (s.dropout > 0) s.block = nnl_random_reserve(&ctx->random, nnl_attend_words(&a));
    return s;
}

static nnl_status check(nnl_context *ctx, nnl_tensor *const *x, const nnl_attention_options *options,
                        nnl_shape *batch) {
    nnl_status status = check_shapes(ctx, x);
    if (status == NNL_OK) status = check_dtypes(ctx, x);
    if (status == NNL_OK) status = check_dropout(ctx, options->dropout);
    if (status == NNL_OK) status = batch_shape(ctx, x, batch);
    if (status != NNL_OK) return status;
    nnl_shape scores = *batch;
    scores.size[scores.ndim++] = last_size(x[QUERY], 2);
    scores.size[scores.ndim++] = last_size(x[KEY], 2);
    return check_mask(ctx, options->mask, &scores);
}

static void release_all(nnl_tensor **x, int n) {
    for (int i = 0; i < n; i++) nnl_tensor_release(x[i]);
}

// Half floats by way of float32.
static nnl_tensor *through_float32(nnl_context *ctx, nnl_tensor *const *given,
                                   const nnl_attention_options *options) {
    nnl_tensor *x[3] = {NULL};
    bool ready = true;
    for (int i = 0; i < 3 && ready; i++) ready = (x[i] = nnl_to(ctx, given[i], NNL_FLOAT32)) != NULL;
    nnl_tensor *y = ready ? nnl_attention(ctx, x[0], x[1], x[2], options) : NULL;
    nnl_tensor *out = y ? nnl_to(ctx, y, given[0]->dtype) : NULL;
    release_all(x, 3);
    nnl_tensor_release(y);
    return out;
}

nnl_tensor *nnl_attention(nnl_context *ctx, nnl_tensor *q, nnl_tensor *k, nnl_tensor *v,
                          const nnl_attention_options *options) {
    nnl_tensor *given[3] = {q, k, v}, *x[4] = {NULL}, *mask = options->mask, *out = NULL;
    nnl_shape batch;
    if (check(ctx, given, options, &batch) != NNL_OK) return NULL;
    if (!is_native(q->dtype)) return through_float32(ctx, given, options);
    bool ready = true, keeps = !mask || mask->dtype == NNL_BOOL || mask->dtype == q->dtype;
    for (int i = 0; i < 3 && ready; i++) ready = (x[i] = operand(ctx, given[i], &batch)) != NULL;
    if (ready && mask) {
        x[MASK] = keeps ? nnl_tensor_retain(mask) : nnl_to(ctx, mask, q->dtype);
        ready = x[MASK] != NULL;
    }
    if (ready) {
        attention_state s = state_of(ctx, x, options);
        out = fused(ctx, &s, x);
    }
    release_all(x, 4);
    return out;
}

// ---- composed of other operations

// 0-dim, of a float dtype.
static nnl_tensor *number(nnl_context *ctx, double value, nnl_dtype dtype) {
    nnl_tensor *t = nnl_tensor_new(ctx, dtype, &(nnl_shape){.ndim = 0});
    if (t) nnl_try_fill(t, nnl_number_float(value));
    return t;
}

// Scores become -inf where not condition == kept. Takes scores, which may be NULL.
static nnl_tensor *where_or_infinite(nnl_context *ctx, nnl_tensor *condition, bool kept, nnl_tensor *scores) {
    nnl_tensor *low = scores ? number(ctx, (double)-INFINITY, scores->dtype) : NULL;
    nnl_tensor *out = low ? nnl_where(ctx, condition, kept ? scores : low, kept ? low : scores) : NULL;
    nnl_tensor_release(low);
    nnl_tensor_release(scores);
    return out;
}

// (L, S), true where query i may see key j.
static nnl_tensor *causal_mask(nnl_context *ctx, int64_t rows, int64_t columns, int64_t offset) {
    nnl_tensor *mask = nnl_tensor_new(ctx, NNL_BOOL, &(nnl_shape){2, {rows, columns}});
    uint8_t *x = mask ? nnl_tensor_data(mask) : NULL;
    for (int64_t i = 0; mask && i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) *x++ = j <= i + offset;
    }
    return mask;
}

// Takes scores, which may be NULL.
static nnl_tensor *masked(nnl_context *ctx, const attention_state *s, nnl_tensor *mask, nnl_tensor *scores) {
    if (scores && s->causal) {
        nnl_tensor *seen = causal_mask(ctx, last_size(scores, 2), last_size(scores, 1), s->offset);
        if (seen) scores = where_or_infinite(ctx, seen, true, scores);
        if (!seen) nnl_tensor_release(scores), scores = NULL;
        nnl_tensor_release(seen);
    }
    if (!scores || !mask) return scores;
    if (mask->dtype == NNL_BOOL) return where_or_infinite(ctx, mask, s->allowed, scores);
    nnl_tensor *sum = nnl_add(ctx, scores, mask);
    nnl_tensor_release(scores);
    return sum;
}

// softmax(scale q k^T + masks)
static nnl_tensor *weights_of(nnl_context *ctx, const attention_state *s, nnl_tensor *const *x) {
    nnl_tensor *product = nnl_mm(ctx, x[QUERY], false, x[KEY], true);
    nnl_tensor *scaled = product ? nnl_mul_number(ctx, product, s->scale) : NULL;
    nnl_tensor *scores = masked(ctx, s, x[MASK], scaled);
    nnl_tensor *weights = scores ? nnl_softmax(ctx, scores, scores->shape.ndim - 1) : NULL;
    nnl_tensor_release(product);
    nnl_tensor_release(scores);
    return weights;
}

// What dropout multiplies weights by, from the same random words as the fused form.
static nnl_tensor *dropout_factors(nnl_context *ctx, const attention_state *s, nnl_tensor *const *x) {
    nnl_shape shape = scores_shape(x[QUERY], x[KEY]);
    nnl_tensor *kept = nnl_tensor_new(ctx, NNL_BOOL, &shape);
    nnl_tensor *factors = kept ? nnl_tensor_new(ctx, x[QUERY]->dtype, &shape) : NULL;
    nnl_attend a = attend_of(s, x, NULL);
    size_t columns = (size_t)last_size(x[KEY], 2), count = factors ? (size_t)nnl_tensor_numel(kept) : 0;
    for (size_t row = 0; row * columns < count; row++) {
        nnl_attend_kept(ctx, &a, row, 0, columns, (uint8_t *)nnl_tensor_data(kept) + row * columns);
    }
    if (factors) nnl_try_copy(factors, kept);
    nnl_tensor_release(kept);
    nnl_tensor *out =
        factors ? nnl_mul_number(ctx, factors, s->dropout < 1 ? 1 / (1 - s->dropout) : 0) : NULL;
    nnl_tensor_release(factors);
    return out;
}

static nnl_tensor *product_or_same(nnl_context *ctx, nnl_tensor *x, nnl_tensor *factors) {
    return factors ? nnl_mul(ctx, x, factors) : nnl_tensor_retain(x);
}

// The weights after dropout, and times v.
static nnl_status attention_and_weights(nnl_context *ctx, const attention_state *s, nnl_tensor *const *x,
                                        nnl_tensor **out) {
    nnl_tensor *weights = weights_of(ctx, s, x);
    nnl_tensor *factors = weights && s->dropout > 0 ? dropout_factors(ctx, s, x) : NULL;
    if (weights && (factors || s->dropout == 0)) out[1] = product_or_same(ctx, weights, factors);
    if (out[1]) out[0] = nnl_mm(ctx, out[1], false, x[VALUE], false);
    nnl_tensor_release(weights);
    nnl_tensor_release(factors);
    if (out[0]) return NNL_OK;
    nnl_tensor_release(out[1]);
    out[1] = NULL;
    return ctx->status;
}

nnl_status nnl_attention_with_weights(nnl_context *ctx, nnl_tensor *q, nnl_tensor *k, nnl_tensor *v,
                                      const nnl_attention_options *options, nnl_tensor *out[2]) {
    nnl_tensor *x[4] = {q, k, v, options->mask};
    nnl_shape batch;
    out[0] = out[1] = NULL;
    nnl_status status = check(ctx, x, options, &batch);
    if (status != NNL_OK) return status;
    attention_state s = state_of(ctx, x, options);
    return attention_and_weights(ctx, &s, x, out);
}

// dS = P * (dP - sum(dP * P))
static nnl_tensor *score_gradient(nnl_context *ctx, nnl_tensor *weights, nnl_tensor *gradient) {
    nnl_tensor *product = nnl_mul(ctx, gradient, weights);
    int64_t last = weights->shape.ndim - 1;
    nnl_tensor *sum = product ? nnl_sum(ctx, product, 1, &last, true) : NULL;
    nnl_tensor *rest = sum ? nnl_sub(ctx, gradient, sum) : NULL;
    nnl_tensor *out = rest ? nnl_mul(ctx, weights, rest) : NULL;
    nnl_tensor_release(product);
    nnl_tensor_release(sum);
    nnl_tensor_release(rest);
    return out;
}

// dS (..., L, S), and dv on the way.
static nnl_tensor *composed_scores(nnl_context *ctx, const attention_state *s, nnl_tensor *const *x,
                                   nnl_tensor *dout, nnl_tensor **dv) {
    nnl_tensor *weights = weights_of(ctx, s, x), *out = NULL;
    nnl_tensor *factors = weights && s->dropout > 0 ? dropout_factors(ctx, s, x) : NULL;
    bool ready = weights && (factors || s->dropout == 0);
    nnl_tensor *dropped = ready ? product_or_same(ctx, weights, factors) : NULL;
    *dv = dropped ? nnl_mm(ctx, dropped, true, dout, false) : NULL;
    nnl_tensor *product = *dv ? nnl_mm(ctx, dout, false, x[VALUE], true) : NULL;
    nnl_tensor *gradient = product ? product_or_same(ctx, product, factors) : NULL;
    if (gradient) out = score_gradient(ctx, weights, gradient);
    nnl_tensor_release(weights);
    nnl_tensor_release(factors);
    nnl_tensor_release(dropped);
    nnl_tensor_release(product);
    nnl_tensor_release(gradient);
    return out;
}

static nnl_status composed_backward(nnl_context *ctx, const attention_state *s, nnl_tensor *const *x,
                                    nnl_tensor *dout, nnl_tensor **dx) {
    dx[MASK] = composed_scores(ctx, s, x, dout, &dx[VALUE]);
    nnl_tensor *scaled = dx[MASK] ? nnl_mul_number(ctx, dx[MASK], s->scale) : NULL;
    if (scaled) dx[QUERY] = nnl_mm(ctx, scaled, false, x[KEY], false);
    if (dx[QUERY]) dx[KEY] = nnl_mm(ctx, scaled, true, x[QUERY], false);
    nnl_tensor_release(scaled);
    return dx[KEY] ? NNL_OK : ctx->status;
}

// ---- backward

// Whether tensors of one shape (..., H, T, d) are the columns of one array (..., T, count * H * d), side by
// side as nnl_split_heads gives them. Its shape into *whole.
static bool side_by_side(nnl_tensor *const *part, int count, nnl_shape *whole) {
    int ndim = part[0] ? part[0]->shape.ndim : 0;
    if (ndim < 3) return false;
    const nnl_tensor *first = part[0];
    int64_t width = first->shape.size[ndim - 3] * first->shape.size[ndim - 1], run = count * width;
    *whole = nnl_shape_of(ndim - 1, first->shape.size);
    whole->size[ndim - 3] = first->shape.size[ndim - 2];
    whole->size[ndim - 2] = run;
    bool fits = first->stride[ndim - 1] == 1 && first->stride[ndim - 3] == first->shape.size[ndim - 1];
    for (int d = ndim - 2; d >= 0; d--) {
        if (d == ndim - 3) continue;
        fits = fits && first->stride[d] == run;
        run *= first->shape.size[d];
    }
    for (int i = 1; i < count && fits; i++) {
        fits = part[i] && part[i]->storage == first->storage && part[i]->dtype == first->dtype &&
               nnl_shape_equal(&part[i]->shape, &first->shape) &&
               memcmp(part[i]->stride, first->stride, (size_t)ndim * sizeof *first->stride) == 0 &&
               part[i]->offset == first->offset + i * width;
    }
    return fits;
}

// New tensors that lie as the parts do, in an array of their own.
static nnl_status parts_alike(nnl_context *ctx, nnl_tensor *const *part, int count, const nnl_shape *whole,
                              nnl_tensor **out) {
    nnl_tensor *array = nnl_tensor_new(ctx, part[0]->dtype, whole);
    for (int i = 0; i < count && array; i++) {
        out[i] = nnl_tensor_alias(array, &part[i]->shape, part[i]->stride, part[i]->offset - part[0]->offset);
    }
    nnl_tensor_release(array);
    return array && out[count - 1] ? NNL_OK : ctx->status;
}

// Memory for the gradients. Where query, key and value, or the last two, are columns of one array, so are the
// gradients: nothing need be put together afterwards.
static nnl_status gradients_new(nnl_context *ctx, const nnl_node *node, nnl_tensor *const *x,
                                nnl_tensor **dx) {
    nnl_shape whole, scores = scores_shape(x[QUERY], x[KEY]);
    nnl_status status = NNL_OK;
    bool needs[3], pair;
    for (int i = 0; i < 3; i++) needs[i] = nnl_node_needs(node, i);
    pair = needs[KEY] && needs[VALUE];
    if (pair && needs[QUERY] && side_by_side(x, 3, &whole)) {
        status = parts_alike(ctx, x, 3, &whole, dx);
    } else if (pair && side_by_side(x + KEY, 2, &whole)) {
        status = parts_alike(ctx, x + KEY, 2, &whole, dx + KEY);
    }
    for (int i = 0; i < 3 && status == NNL_OK; i++) {
        if (!needs[i] || dx[i]) continue;
        dx[i] = alike(ctx, x[i], last_size(x[i], 1));
        if (!dx[i]) status = ctx->status;
    }
    if (status != NNL_OK || !nnl_node_needs(node, MASK)) return status;
    dx[MASK] = nnl_tensor_new(ctx, x[QUERY]->dtype, &scores);
    return dx[MASK] ? NNL_OK : ctx->status;
}

static nnl_status fused_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *x, nnl_tensor *dout,
                                 nnl_tensor **dx) {
    nnl_shape scores = scores_shape(x[QUERY], x[KEY]);
    nnl_status status = gradients_new(ctx, node, x, dx);
    nnl_tensor *mask = status == NNL_OK && x[MASK] ? readable_mask(ctx, x[MASK], &scores) : NULL;
    nnl_tensor *together = nnl_attend_reads(dout) ? nnl_tensor_retain(dout) : nnl_contiguous(ctx, dout);
    if (!together || (x[MASK] && !mask)) status = ctx->status;
    nnl_attend a = attend_of(node->state, x, mask);
    if (status == NNL_OK) {
        status = nnl_attend_backward(ctx, &a,
                                     &(nnl_attend_gradients){.out = nnl_node_saved(node, OUT),
                                                             .statistics = nnl_node_saved(node, STATISTICS),
                                                             .dout = together,
                                                             .dq = dx[QUERY],
                                                             .dk = dx[KEY],
                                                             .dv = dx[VALUE],
                                                             .dmask = dx[MASK]});
    }
    nnl_tensor_release(mask);
    nnl_tensor_release(together);
    return status;
}

static nnl_status attention_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                     nnl_tensor **dx) {
    nnl_tensor *x[4];
    for (int i = 0; i < 4; i++) x[i] = nnl_node_saved(node, i);
    if (ctx->grad_enabled) return composed_backward(ctx, node->state, x, dout[0], dx);
    return fused_backward(ctx, node, x, dout[0], dx);
}

// ---- heads

typedef struct split_state {
    nnl_shape shape; // of the whole
    int parts;
} split_state;

// Part i of x (..., T, parts * heads * d) as (..., heads, T, d): a look at x.
static nnl_tensor *part_of(const nnl_tensor *x, int parts, int64_t heads, int i) {
    int ndim = x->shape.ndim;
    nnl_shape shape = nnl_shape_of(ndim - 2, x->shape.size);
    int64_t stride[NNL_MAX_DIMS], size = last_size(x, 1) / parts / heads;
    memcpy(stride, x->stride, sizeof stride);
    shape.size[shape.ndim] = heads;
    stride[shape.ndim++] = size;
    shape.size[shape.ndim] = last_size(x, 2);
    stride[shape.ndim++] = x->stride[ndim - 2];
    shape.size[shape.ndim] = size;
    stride[shape.ndim++] = 1;
    return nnl_tensor_alias(x, &shape, stride, x->offset + i * heads * size);
}

static nnl_status split_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);

static const nnl_op split_record = {.name = "split_heads", .backward = split_backward};

nnl_status nnl_split_heads(nnl_context *ctx, nnl_tensor *x, int parts, int64_t heads, nnl_tensor **out) {
    bool together = x->stride[x->shape.ndim - 1] == 1;
    nnl_tensor *array = together ? nnl_tensor_retain(x) : nnl_contiguous(ctx, x);
    nnl_status status = array ? NNL_OK : ctx->status;
    for (int i = 0; i < parts; i++) out[i] = NULL;
    for (int i = 0; i < parts && status == NNL_OK; i++) {
        out[i] = part_of(array, parts, heads, i);
        if (!out[i]) status = ctx->status;
    }
    split_state state = {x->shape, parts};
    if (status == NNL_OK) {
        status = nnl_record(ctx, &(nnl_recording){.op = &split_record,
                                                  .n_inputs = 1,
                                                  .inputs = &array,
                                                  .n_outputs = parts,
                                                  .outputs = out,
                                                  .state = &state,
                                                  .state_size = sizeof state});
    }
    nnl_tensor_release(array);
    for (int i = 0; i < parts && status != NNL_OK; i++) {
        nnl_tensor_release(out[i]);
        out[i] = NULL;
    }
    return status;
}

nnl_tensor *nnl_join_heads(nnl_context *ctx, nnl_tensor *x) {
    int ndim = x->shape.ndim;
    nnl_shape shape = nnl_shape_of(ndim - 1, x->shape.size);
    shape.size[ndim - 3] = last_size(x, 2);
    shape.size[ndim - 2] = last_size(x, 3) * last_size(x, 1);
    nnl_tensor *turned = nnl_transpose(ctx, x, ndim - 3, ndim - 2);
    nnl_tensor *out = turned ? nnl_reshape(ctx, turned, &shape) : NULL;
    nnl_tensor_release(turned);
    return out;
}

// The parts' gradients side by side; a part without one has 0.
static nnl_tensor *put_together(nnl_context *ctx, const split_state *s, nnl_tensor *const *dout) {
    nnl_dtype dtype = NNL_FLOAT32;
    int64_t heads = 1;
    for (int i = 0; i < s->parts; i++) {
        if (dout[i]) dtype = dout[i]->dtype, heads = last_size(dout[i], 3);
    }
    nnl_tensor *whole = nnl_tensor_new(ctx, dtype, &s->shape);
    if (!whole) return NULL;
    for (int i = 0; i < s->parts; i++) {
        nnl_tensor *part = part_of(whole, s->parts, heads, i);
        if (!part) {
            nnl_tensor_release(whole);
            return NULL;
        }
        if (dout[i]) nnl_try_copy(part, dout[i]);
        if (!dout[i]) nnl_try_fill(part, nnl_number_float(0));
        nnl_tensor_release(part);
    }
    return whole;
}

// Recorded, so that second gradients exist: each part turned back, then joined.
static nnl_tensor *join_recorded(nnl_context *ctx, const split_state *s, nnl_tensor *const *dout) {
    nnl_tensor *part[NNL_MAX_OUTPUTS] = {NULL}, *out = NULL;
    nnl_shape shape = s->shape;
    bool ready = true;
    shape.size[shape.ndim - 1] /= s->parts;
    for (int i = 0; i < s->parts && ready; i++) {
        part[i] = dout[i] ? nnl_join_heads(ctx, dout[i]) : NULL;
        if (!dout[i]) part[i] = nnl_tensor_new(ctx, dout[0] ? dout[0]->dtype : NNL_FLOAT32, &shape);
        if (!dout[i] && part[i]) nnl_try_fill(part[i], nnl_number_float(0));
        ready = part[i] != NULL;
    }
    if (ready) out = nnl_cat(ctx, (size_t)s->parts, part, shape.ndim - 1);
    release_all(part, s->parts);
    return out;
}

static nnl_status split_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    const split_state *s = node->state;
    nnl_shape whole;
    int64_t stride[NNL_MAX_DIMS];
    if (ctx->grad_enabled) {
        dx[0] = join_recorded(ctx, s, dout);
    } else if (side_by_side(dout, s->parts, &whole) && nnl_shape_equal(&whole, &s->shape)) {
        nnl_shape_strides(&whole, stride);
        dx[0] = nnl_tensor_alias(dout[0], &whole, stride, dout[0]->offset);
    } else {
        dx[0] = put_together(ctx, s, dout);
    }
    return dx[0] ? NNL_OK : ctx->status;
}

// ---- record

static nnl_status sdpa_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_arg *arg = call->arg;
    nnl_attention_options options = {.mask = arg[3].tensor,
                                     .dropout = arg[4].number.d,
                                     .causal = arg[5].flag,
                                     .scale = arg[6].given ? arg[6].number.d : (double)NAN};
    call->out[0] = nnl_attention(ctx, arg[0].tensor, arg[1].tensor, arg[2].tensor, &options);
    return call->out[0] ? NNL_OK : ctx->status;
}

const nnl_op nnl_attention_records[] = {
    {.name = WHO,
     .doc =
         "softmax(scale query key^T + attn_mask) value: query (..., L, E), key (..., S, E), value (..., S, "
         "V) "
         "to (..., L, V). A bool mask is true where a query may see a key, a float mask is added; scale is "
         "1 / sqrt(E) where left out (Vaswani et al. 2017; tiles as in Dao et al. 2022)",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {{"query", NNL_ARG_TENSOR, false, 0, NULL},
                {"key", NNL_ARG_TENSOR, false, 0, NULL},
                {"value", NNL_ARG_TENSOR, false, 0, NULL},
                {"attn_mask", NNL_ARG_TENSOR, true, 0, NULL},
                {"dropout_p", NNL_ARG_NUMBER, true, 0, NULL},
                {"is_causal", NNL_ARG_BOOL, true, 0, NULL},
                {"scale", NNL_ARG_NUMBER, true, 0, NULL}},
     .forward = sdpa_forward},
    {.name = NULL},
};
