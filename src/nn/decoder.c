// decoder.c: generation by a language model: see decoder.h. Products with weights are cut into parts by their
// size and run on the pool's threads; what is small stays on the caller. Several tokens at once, as of a
// prompt, share each look at the weights.
#include "nn/decoder.h"
#include "kernel/gemm.h"
#include "tensor/apply.h"

#include <math.h>
#include <string.h>

#define CHUNK 32            // tokens that are read at once
#define PART_WEIGHTS 131072 // weights of one part of a product: some 10 microseconds
#define BLOCK_ROWS 16       // rows of weights that stay in the cache while several tokens pass
#define PART_SCORES 32768   // multiplications of attention, below which it stays on the caller

const char *const nnl_decoder_part_names[NNL_DECODER_PARTS] = {"norm1", "qkv",   "query", "key", "value",
                                                               "out",   "norm2", "gate",  "up",  "down"};

// A weight as it lies: (rows, columns) with `ld` elements from row to row, or its transpose.
typedef struct matrix {
    nnl_tensor *tensor; // owned
    const void *data;
    size_t n, k, ld; // results, inputs
    bool turned;
    nnl_dtype dtype;
    const float *bias; // of `kept`, or NULL
    nnl_tensor *kept;  // owned
} matrix;

typedef struct vector {
    nnl_tensor *kept; // owned, of float32
    const float *data;
} vector;

typedef struct block {
    vector norm[2], norm_bias[2];
    matrix part[NNL_DECODER_PARTS];
    float *keys, *values; // (kv_heads, size, length), (kv_heads, length, size)
} block;

struct nnl_decoder {
    nnl_context *ctx;
    size_t layers, width, heads, kv_heads, size, hidden, vocabulary, length, room; // room: length, padded
    double eps;
    bool centred, gated, rotated, interleaved;
    nnl_unary activation;
    double activation_p[2];
    nnl_tensor *tokens, *places; // owned
    vector norm, norm_bias;
    matrix head;
    block *blocks;
    double *periods; // of the pairs
    float *turns;    // cosines and sines of the tokens that are read: (CHUNK, size)
    float *memory, *x, *h, *qkv, *mixed, *gate, *up, *scores;
    nnl_tensor *logits; // owned
    size_t position;
};

// ---- products

typedef struct product {
    const nnl_decode_kernels *kernels;
    const matrix *w;
    size_t count, step;
    const float *x;
    size_t ldx;
    float *y;
    size_t ldy;
    bool add;
} product;

static void product_block(const product *p, size_t from, size_t rows) {
    const matrix *w = p->w;
    size_t at = w->turned ? from : from * w->ld;
    const char *data = (const char *)w->data + at * nnl_dtype_size(w->dtype);
    for (size_t t = 0; t < p->count; t++) {
        float *y = p->y + t * p->ldy + from;
        const float *x = p->x + t * p->ldx;
        if (w->turned) p->kernels->sums[w->dtype](rows, w->k, y, x, data, w->ld, p->add);
        if (!w->turned) p->kernels->dots[w->dtype](rows, w->k, y, x, data, w->ld, p->add);
        for (size_t j = 0; w->bias && j < rows; j++) y[j] += w->bias[from + j];
    }
}

static void product_part(void *arg, size_t part) {
    const product *p = arg;
    size_t from = part * p->step, last = from + p->step < p->w->n ? from + p->step : p->w->n;
    size_t rows = p->count > 1 && !p->w->turned ? BLOCK_ROWS : p->step;
    for (; from < last; from += rows) product_block(p, from, from + rows < last ? rows : last - from);
}

static void add_bias(const matrix *w, size_t count, float *y, size_t ldy) {
    for (size_t t = 0; w->bias && t < count; t++) {
        for (size_t j = 0; j < w->n; j++) y[t * ldy + j] += w->bias[j];
    }
}

// y (count, n) = x (count, k) w^T + bias, or added to y.
static void multiply(const nnl_decoder *d, const matrix *w, size_t count, const float *x, size_t ldx,
                     float *y, size_t ldy, bool add) {
    nnl_context *ctx = d->ctx;
    if (count >= 4 && w->dtype == NNL_FLOAT32) {
        nnl_gemm(ctx->kernels, ctx->pool, NNL_PRODUCT_FLOAT, count, w->n, w->k, 1,
                 (nnl_matrix){x, ldx, false}, (nnl_matrix){w->data, w->ld, !w->turned}, add, y, ldy);
        add_bias(w, count, y, ldy);
        return;
    }
    size_t step = PART_WEIGHTS / w->k / BLOCK_ROWS * BLOCK_ROWS;
    product p = {ctx->kernels->decode, w, count, step < BLOCK_ROWS ? BLOCK_ROWS : step, x, ldx, y, ldy, add};
    nnl_pool_run(ctx->pool, (w->n + p.step - 1) / p.step, product_part, &p);
}

// ---- attention

typedef struct attention {
    const nnl_decoder *d;
    const block *b;
    const float *query; // (heads, size), scaled
    float *out;
    size_t keys;
} attention;

static void attend_head(const attention *a, size_t shared, const float *query, float *out) {
    const nnl_decoder *d = a->d;
    const nnl_kernels *kernels = d->ctx->kernels;
    size_t padded = (a->keys + NNL_SCORE_STEP - 1) / NNL_SCORE_STEP * NNL_SCORE_STEP;
    float *scores = d->scores + shared * d->room;
    kernels->decode->sums[NNL_FLOAT32](a->keys, d->size, scores, query,
                                       a->b->keys + shared * d->size * d->room, d->room, false);
    for (size_t j = a->keys; j < padded; j++) scores[j] = -INFINITY;
    double top = kernels->attention->top[NNL_IN_FLOAT](padded, scores);
    double sum = kernels->attention->weigh[NNL_IN_FLOAT](padded, scores, top);
    memset(out, 0, d->size * sizeof(float));
    kernels->product->add_rows(a->keys, d->size, out, scores, 1, a->b->values + shared * d->size * d->room,
                               d->size);
    kernels->attention->scale[NNL_IN_FLOAT](d->size, out, 1 / sum);
}

// A head of keys and values, for the queries that share it.
static void attend_part(void *arg, size_t shared) {
    const attention *a = arg;
    size_t each = a->d->heads / a->d->kv_heads, size = a->d->size;
    for (size_t h = shared * each; h < (shared + 1) * each; h++)
        attend_head(a, shared, a->query + h * size, a->out + h * size);
}

static void keep(const nnl_decoder *d, const block *b, size_t at, const float *keys, const float *values) {
    for (size_t h = 0; h < d->kv_heads; h++) {
        float *to = b->keys + h * d->size * d->room + at;
        for (size_t i = 0; i < d->size; i++) to[i * d->room] = keys[h * d->size + i];
        memcpy(b->values + (h * d->room + at) * d->size, values + h * d->size, d->size * sizeof(float));
    }
}

// Of one token: keys and values are kept, then all heads look back.
static void attend(const nnl_decoder *d, const block *b, size_t t, float *qkv, float *out) {
    const nnl_attention_kernels *kernels = d->ctx->kernels->attention;
    float *keys = qkv + d->heads * d->size, *values = keys + d->kv_heads * d->size;
    for (size_t h = 0; d->rotated && h < d->heads + d->kv_heads; h++) {
        float *row = qkv + h * d->size, turned[2048];
        memcpy(turned, row, d->size * sizeof(float));
        kernels->rotate[NNL_IN_FLOAT](d->size / 2, row, turned, d->turns + t * d->size, d->interleaved,
                                      false);
    }
    kernels->scale[NNL_IN_FLOAT](d->heads * d->size, qkv, 1 / sqrt((double)d->size));
    keep(d, b, d->position + t, keys, values);
    attention a = {d, b, qkv, out, d->position + t + 1};
    if (d->heads * d->size * a.keys >= PART_SCORES) {
        nnl_pool_run(d->ctx->pool, d->kv_heads, attend_part, &a);
    } else {
        for (size_t h = 0; h < d->kv_heads; h++) attend_part(&a, h);
    }
}

// ---- a block

static void normalize(const nnl_decoder *d, const vector *w, const vector *b, size_t count, const float *x,
                      float *y) {
    for (size_t t = 0; t < count; t++) {
        d->ctx->kernels->decode->norm(d->width, y + t * d->width, x + t * d->width, w->data, b->data, d->eps,
                                      d->centred);
    }
}

static void project(const nnl_decoder *d, const block *b, size_t count) {
    size_t ld = (d->heads + 2 * d->kv_heads) * d->size, at = 0;
    if (b->part[NNL_DECODER_QKV].tensor) {
        multiply(d, &b->part[NNL_DECODER_QKV], count, d->h, d->width, d->qkv, ld, false);
        return;
    }
    for (int part = NNL_DECODER_QUERY; part <= NNL_DECODER_VALUE; part++) {
        multiply(d, &b->part[part], count, d->h, d->width, d->qkv + at, ld, false);
        at += b->part[part].n;
    }
}

static void feed_forward(const nnl_decoder *d, const block *b, size_t count) {
    const nnl_elementwise_kernels *kernels = d->ctx->kernels->elementwise;
    const matrix *first = &b->part[d->gated ? NNL_DECODER_GATE : NNL_DECODER_UP];
    size_t all = count * d->hidden;
    multiply(d, first, count, d->h, d->width, d->gate, d->hidden, false);
    kernels->unary[d->activation][NNL_IN_FLOAT](all, d->gate, d->gate, d->activation_p);
    if (d->gated) {
        multiply(d, &b->part[NNL_DECODER_UP], count, d->h, d->width, d->up, d->hidden, false);
        kernels->binary[NNL_BINARY_mul][NNL_IN_FLOAT](all, d->gate, d->gate, d->up);
    }
    multiply(d, &b->part[NNL_DECODER_DOWN], count, d->gate, d->hidden, d->x, d->width, true);
}

static void run_block(const nnl_decoder *d, const block *b, size_t count) {
    size_t ld = (d->heads + 2 * d->kv_heads) * d->size, inner = d->heads * d->size;
    normalize(d, &b->norm[0], &b->norm_bias[0], count, d->x, d->h);
    project(d, b, count);
    for (size_t t = 0; t < count; t++) attend(d, b, t, d->qkv + t * ld, d->mixed + t * inner);
    multiply(d, &b->part[NNL_DECODER_OUT], count, d->mixed, inner, d->x, d->width, true);
    normalize(d, &b->norm[1], &b->norm_bias[1], count, d->x, d->h);
    feed_forward(d, b, count);
}

// ---- tokens

static void load_row(const nnl_decoder *d, float *out, const nnl_tensor *table, size_t row) {
    const char *data = nnl_tensor_data(table);
    size_t from = row * (size_t)table->stride[0] * nnl_dtype_size(table->dtype);
    d->ctx->kernels->convert->load[table->dtype][NNL_IN_FLOAT](d->width, out, data + from, 1);
}

static void find_turns(const nnl_decoder *d, size_t position, float *turns) {
    for (size_t pair = 0; d->rotated && pair < d->size / 2; pair++) {
        double angle = (double)position / d->periods[pair];
        turns[2 * pair] = (float)cos(angle);
        turns[2 * pair + 1] = (float)sin(angle);
    }
}

static void embed(const nnl_decoder *d, size_t count, const int64_t *ids) {
    for (size_t t = 0; t < count; t++) {
        float *x = d->x + t * d->width;
        find_turns(d, d->position + t, d->turns + t * d->size);
        load_row(d, x, d->tokens, (size_t)ids[t]);
        if (!d->places) continue;
        load_row(d, d->h, d->places, d->position + t);
        for (size_t i = 0; i < d->width; i++) x[i] += d->h[i];
    }
}

static nnl_status check_ids(const nnl_decoder *d, size_t count, const int64_t *ids) {
    for (size_t t = 0; t < count; t++) {
        if (ids[t] >= 0 && ids[t] < (int64_t)d->vocabulary) continue;
        return nnl_fail(d->ctx, NNL_ERR_ARGUMENT, "expected ids from 1 to %lld, got %lld",
                        (long long)d->vocabulary, (long long)ids[t] + 1);
    }
    if (count <= d->length - d->position) return NNL_OK;
    return nnl_fail(d->ctx, NNL_ERR_ARGUMENT, "there is room for %lld more tokens, got %lld",
                    (long long)(d->length - d->position), (long long)count);
}

nnl_status nnl_decoder_feed(nnl_decoder *d, size_t count, const int64_t *ids) {
    nnl_status status = check_ids(d, count, ids);
    for (size_t from = 0; from < count && status == NNL_OK; from += CHUNK) {
        size_t some = count - from < CHUNK ? count - from : CHUNK;
        embed(d, some, ids + from);
        for (size_t l = 0; l < d->layers; l++) run_block(d, &d->blocks[l], some);
        d->position += some;
        status = nnl_check_stop(d->ctx, "generate");
        if (status != NNL_OK || from + some < count) continue;
        normalize(d, &d->norm, &d->norm_bias, 1, d->x + (some - 1) * d->width, d->h);
        multiply(d, &d->head, 1, d->h, d->width, nnl_tensor_data(d->logits), d->vocabulary, false);
        nnl_tensor_changed(d->logits);
    }
    return status;
}

nnl_tensor *nnl_decoder_logits(const nnl_decoder *d) { return d->logits; }
int64_t nnl_decoder_position(const nnl_decoder *d) { return (int64_t)d->position; }
int64_t nnl_decoder_room(const nnl_decoder *d) { return (int64_t)(d->length - d->position); }

void nnl_decoder_rewind(nnl_decoder *d, int64_t position) {
    if (position >= 0 && position < (int64_t)d->position) d->position = (size_t)position;
}

// ---- making one

static nnl_status wrong(nnl_context *ctx, const char *name, const nnl_tensor *t, int64_t rows,
                        int64_t columns) {
    char got[NNL_SHAPE_TEXT];
    if (!t) return nnl_fail(ctx, NNL_ERR_ARGUMENT, "generate: the model has no %s", name);
    return nnl_fail(ctx, NNL_ERR_SHAPE,
                    "generate: expected %s (%lld, %lld) of float32, bfloat16 or float16, got %s of %s", name,
                    (long long)rows, (long long)columns, nnl_shape_text(&t->shape, got),
                    nnl_dtype_get(t->dtype)->name);
}

static bool is_weight(const nnl_tensor *t) {
    return t && (t->dtype == NNL_FLOAT32 || t->dtype == NNL_BFLOAT16 || t->dtype == NNL_FLOAT16);
}

// As float32 in one piece, a copy where it is not so. Of `size` elements; nothing at all where t is NULL.
static nnl_status take_vector(nnl_context *ctx, vector *out, nnl_tensor *t, const char *name, size_t size) {
    if (!t) return NNL_OK;
    if (!is_weight(t) || t->shape.ndim != 1 || t->shape.size[0] != (int64_t)size)
        return wrong(ctx, name, t, 1, (int64_t)size);
    bool ready = t->dtype == NNL_FLOAT32 && nnl_tensor_is_contiguous(t);
    out->kept = ready ? nnl_tensor_retain(t) : nnl_tensor_new(ctx, NNL_FLOAT32, &t->shape);
    if (!out->kept) return ctx->status;
    if (!ready) nnl_apply_copy(out->kept, t);
    out->data = nnl_tensor_data(out->kept);
    return NNL_OK;
}

// n 0: as many as there are.
static nnl_status take_matrix(nnl_context *ctx, matrix *out, nnl_tensor *t, nnl_tensor *bias,
                              const char *name, size_t n, size_t k) {
    vector kept = {NULL, NULL};
    bool fits = is_weight(t) && t->shape.ndim == 2 && (n == 0 || t->shape.size[0] == (int64_t)n) &&
                t->shape.size[1] == (int64_t)k && t->shape.size[0] > 0;
    bool plain = fits && t->stride[1] == 1 && t->stride[0] >= t->shape.size[1];
    bool turned = fits && !plain && t->stride[0] == 1 && t->stride[1] >= t->shape.size[0];
    if (!plain && !turned) return wrong(ctx, name, t, (int64_t)n, (int64_t)k);
    *out = (matrix){.tensor = nnl_tensor_retain(t),
                    .data = nnl_tensor_data(t),
                    .n = (size_t)t->shape.size[0],
                    .k = k,
                    .ld = (size_t)t->stride[turned ? 1 : 0],
                    .turned = turned,
                    .dtype = t->dtype};
    nnl_status status = take_vector(ctx, &kept, bias, name, out->n);
    out->kept = kept.kept;
    out->bias = kept.data;
    return status;
}

static size_t part_rows(const nnl_decoder *d, int part) {
    size_t query = d->heads * d->size, key = d->kv_heads * d->size;
    if (part == NNL_DECODER_QKV) return query + 2 * key;
    if (part == NNL_DECODER_QUERY) return query;
    if (part == NNL_DECODER_KEY || part == NNL_DECODER_VALUE) return key;
    return part == NNL_DECODER_OUT || part == NNL_DECODER_DOWN ? d->width : d->hidden;
}

static bool is_needed(const nnl_decoder *d, int part, bool packed) {
    if (part == NNL_DECODER_NORM1 || part == NNL_DECODER_NORM2) return false;
    if (part == NNL_DECODER_GATE) return d->gated;
    if (part == NNL_DECODER_QKV) return packed;
    return part > NNL_DECODER_VALUE || !packed;
}

static nnl_status take_block(nnl_context *ctx, nnl_decoder *d, block *b, const nnl_decoder_layer *from) {
    static const int norms[2] = {NNL_DECODER_NORM1, NNL_DECODER_NORM2};
    const char *const *names = nnl_decoder_part_names;
    bool packed = from->weight[NNL_DECODER_QKV] != NULL;
    nnl_status status = NNL_OK;
    for (int i = 0; i < 2 && status == NNL_OK; i++) {
        nnl_tensor *weight = from->weight[norms[i]];
        if (!weight) return wrong(ctx, names[norms[i]], NULL, 0, 0);
        status = take_vector(ctx, &b->norm[i], weight, names[norms[i]], d->width);
        if (status == NNL_OK)
            status = take_vector(ctx, &b->norm_bias[i], from->bias[norms[i]], names[norms[i]], d->width);
    }
    for (int part = 0; part < NNL_DECODER_PARTS && status == NNL_OK; part++) {
        if (!is_needed(d, part, packed)) continue;
        size_t k = part == NNL_DECODER_OUT    ? d->heads * d->size
                   : part == NNL_DECODER_DOWN ? d->hidden
                                              : d->width;
        status = take_matrix(ctx, &b->part[part], from->weight[part], from->bias[part], names[part],
                             part_rows(d, part), k);
    }
    return status;
}

// Memory for all that a token needs on its way, and for keys and values, in one piece.
static nnl_status take_memory(nnl_context *ctx, nnl_decoder *d) {
    size_t qkv = (d->heads + 2 * d->kv_heads) * d->size, cache = d->kv_heads * d->size * d->room;
    size_t tokens = CHUNK * (2 * d->width + qkv + d->heads * d->size + 2 * d->hidden);
    size_t total = tokens + d->kv_heads * d->room + CHUNK * d->size + 2 * d->layers * cache;
    bool possible = (double)d->kv_heads * (double)d->size * (double)d->room * (double)d->layers < 1e15;
    d->memory = possible ? nnl_alloc(&ctx->allocator, total * sizeof(float)) : NULL;
    d->periods = nnl_alloc(&ctx->allocator, (d->size / 2 + 1) * sizeof(double));
    d->logits = nnl_tensor_new(ctx, NNL_FLOAT32, &(nnl_shape){1, {(int64_t)d->vocabulary}});
    if (!d->memory || !d->periods || !d->logits)
        return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for the keys and values of %lld tokens",
                        (long long)d->length);
    float *at = d->memory;
    float **const places[] = {&d->x, &d->h, &d->qkv, &d->mixed, &d->gate, &d->up};
    const size_t sizes[] = {d->width, d->width, qkv, d->heads * d->size, d->hidden, d->hidden};
    for (int i = 0; i < 6; i++, at += CHUNK * sizes[i - 1]) *places[i] = at;
    d->scores = at;
    d->turns = at += d->kv_heads * d->room;
    at += CHUNK * d->size;
    for (size_t l = 0; l < d->layers; l++, at += 2 * cache) {
        d->blocks[l].keys = at;
        d->blocks[l].values = at + cache;
    }
    nnl_apply_fill(d->logits, nnl_number_float(0));
    return NNL_OK;
}

static nnl_status check_sizes(nnl_context *ctx, const nnl_decoder_spec *s) {
    bool fits = s->layers >= 1 && s->width >= 1 && s->heads >= 1 && s->kv_heads >= 1 &&
                s->heads % s->kv_heads == 0 && s->size >= 1 && s->size <= 2048 && s->length >= 1 &&
                s->length <= 1 << 30 && s->layers <= 1 << 20 && s->width <= 1 << 24 && s->heads <= 1 << 20 &&
                (!s->rotary || s->size % 2 == 0) && s->activation &&
                s->activation->kind == NNL_ACTIVATION_UNARY;
    if (fits) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_ARGUMENT, "generate: the sizes of the model do not fit together");
}

static nnl_status take_tables(nnl_context *ctx, nnl_decoder *d, const nnl_decoder_spec *s) {
    matrix table[2] = {{.tensor = NULL}, {.tensor = NULL}};
    nnl_status status = take_matrix(ctx, &table[0], s->tokens, NULL, "tokens", 0, d->width);
    d->tokens = table[0].tensor;
    if (status == NNL_OK && s->places) {
        status = take_matrix(ctx, &table[1], s->places, NULL, "positions", 0, d->width);
        d->places = table[1].tensor;
    }
    if (status != NNL_OK) return status;
    if (table[0].turned || table[1].turned || (d->places && d->places->shape.size[0] < s->length))
        return wrong(ctx, d->places ? "positions" : "tokens", d->places ? d->places : d->tokens, s->length,
                     s->width);
    d->vocabulary = table[0].n;
    return take_matrix(ctx, &d->head, s->head, s->head_bias, "head", d->vocabulary, d->width);
}

static nnl_status fill(nnl_context *ctx, nnl_decoder *d, const nnl_decoder_spec *s) {
    const nnl_tensor *up = s->layer[0].weight[NNL_DECODER_UP];
    if (!up || up->shape.ndim != 2 || up->shape.size[0] < 1) return wrong(ctx, "up", up, 1, s->width);
    d->hidden = (size_t)up->shape.size[0];
    d->gated = s->layer[0].weight[NNL_DECODER_GATE] != NULL;
    d->blocks = nnl_alloc(&ctx->allocator, d->layers * sizeof *d->blocks);
    if (!d->blocks) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for a model");
    memset(d->blocks, 0, d->layers * sizeof *d->blocks);
    nnl_status status = take_tables(ctx, d, s);
    if (status == NNL_OK && !s->norm) status = wrong(ctx, "norm", NULL, 0, 0);
    if (status == NNL_OK) status = take_vector(ctx, &d->norm, s->norm, "norm", d->width);
    if (status == NNL_OK) status = take_vector(ctx, &d->norm_bias, s->norm_bias, "norm", d->width);
    for (size_t l = 0; l < d->layers && status == NNL_OK; l++)
        status = take_block(ctx, d, &d->blocks[l], &s->layer[l]);
    if (status == NNL_OK) status = take_memory(ctx, d);
    for (size_t pair = 0; status == NNL_OK && s->rotary && pair < d->size / 2; pair++)
        d->periods[pair] = nnl_rotary_period(s->rotary, (int64_t)pair);
    return status;
}

nnl_decoder *nnl_decoder_new(nnl_context *ctx, const nnl_decoder_spec *s) {
    if (check_sizes(ctx, s) != NNL_OK) return NULL;
    nnl_decoder *d = nnl_alloc(&ctx->allocator, sizeof *d);
    if (!d) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a model");
    *d = (nnl_decoder){.ctx = ctx,
                       .layers = (size_t)s->layers,
                       .width = (size_t)s->width,
                       .heads = (size_t)s->heads,
                       .kv_heads = (size_t)s->kv_heads,
                       .size = (size_t)s->size,
                       .length = (size_t)s->length,
                       .room = ((size_t)s->length + NNL_SCORE_STEP - 1) / NNL_SCORE_STEP * NNL_SCORE_STEP,
                       .eps = s->eps,
                       .centred = s->centred,
                       .rotated = s->rotary != NULL,
                       .interleaved = s->interleaved,
                       .activation = s->activation->unary};
    memcpy(d->activation_p, s->activation->p, sizeof d->activation_p);
    nnl_context_retain(ctx);
    if (fill(ctx, d, s) == NNL_OK) return d;
    nnl_decoder_free(d);
    return NULL;
}

static void free_matrix(matrix *w) {
    nnl_tensor_release(w->tensor);
    nnl_tensor_release(w->kept);
}

static void free_block(block *b) {
    for (int i = 0; i < 2; i++) {
        nnl_tensor_release(b->norm[i].kept);
        nnl_tensor_release(b->norm_bias[i].kept);
    }
    for (int part = 0; part < NNL_DECODER_PARTS; part++) free_matrix(&b->part[part]);
}

void nnl_decoder_free(nnl_decoder *d) {
    if (!d) return;
    nnl_context *ctx = d->ctx;
    for (size_t l = 0; d->blocks && l < d->layers; l++) free_block(&d->blocks[l]);
    free_matrix(&d->head);
    nnl_tensor_release(d->tokens);
    nnl_tensor_release(d->places);
    nnl_tensor_release(d->norm.kept);
    nnl_tensor_release(d->norm_bias.kept);
    nnl_tensor_release(d->logits);
    nnl_free(&ctx->allocator, d->memory);
    nnl_free(&ctx->allocator, d->periods);
    nnl_free(&ctx->allocator, d->blocks);
    nnl_free(&ctx->allocator, d);
    nnl_context_release(ctx);
}
