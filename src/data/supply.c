// supply.c: where samples come from: rows of a tensor, files of pictures, several of such.
#include "data/feed.h"

#include <string.h>

void nnl_supply_release(nnl_supply *supply) {
    if (supply && --supply->refs == 0) supply->class->free(supply);
}

void *nnl_supply_begin(nnl_context *ctx, size_t size, const nnl_supply_class *class, int64_t count) {
    nnl_supply *supply = nnl_alloc(&ctx->allocator, size);
    if (!supply) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a source of samples");
    memset(supply, 0, size);
    *supply = (nnl_supply){class, 1, count};
    nnl_context_retain(ctx);
    return supply;
}

void nnl_supply_end(nnl_supply *supply, nnl_context *ctx) {
    nnl_free(&ctx->allocator, supply);
    nnl_context_release(ctx);
}

// ---- rows

#define FETCHED 4096 // bytes: the rest of a row is read in order

typedef struct rows {
    nnl_supply base;
    nnl_tensor *t;
    const char *data;
    nnl_shape shape;
    size_t bytes;
} rows;

static nnl_status load_row(const nnl_supply *supply, nnl_context *ctx, int64_t index, nnl_sample *sample) {
    const rows *r = (const rows *)supply;
    (void)ctx;
    *sample = (nnl_sample){r->t->dtype, r->shape, r->data + (size_t)index * r->bytes, NULL};
    return NNL_OK;
}

// In a random order each row is far from the one before: no processor guesses where.
static void fetch_row(const nnl_supply *supply, int64_t index) {
    const rows *r = (const rows *)supply;
    const char *at = r->data + (size_t)index * r->bytes;
    size_t bytes = r->bytes < FETCHED ? r->bytes : FETCHED;
    for (size_t k = 0; k < bytes; k += 64) __builtin_prefetch(at + k);
}

static void free_rows(nnl_supply *supply) {
    rows *r = (rows *)supply;
    nnl_context *ctx = r->t->ctx;
    nnl_tensor_release(r->t);
    nnl_supply_end(supply, ctx);
}

nnl_supply *nnl_supply_rows(nnl_context *ctx, nnl_tensor *t) {
    static const nnl_supply_class class = {load_row, free_rows, NULL, fetch_row};
    if (t->shape.ndim == 0)
        return nnl_fail_null(ctx, NNL_ERR_SHAPE, "expected a tensor of at least one dimension, got ()");
    rows *r = nnl_supply_begin(ctx, sizeof *r, &class, t->shape.size[0]);
    if (!r) return NULL;
    r->t = nnl_tensor_retain(t);
    r->data = nnl_tensor_data(t);
    r->shape = nnl_shape_of(t->shape.ndim - 1, t->shape.size + 1);
    r->bytes = (size_t)nnl_shape_numel(&r->shape) * nnl_dtype_size(t->dtype);
    return &r->base;
}

// ---- files of pictures

nnl_status nnl_supply_paths(nnl_context *ctx, const char *paths, size_t size, int64_t count, char **text,
                            size_t **path) {
    *text = nnl_alloc(&ctx->allocator, size);
    *path = nnl_alloc(&ctx->allocator, (size_t)count * sizeof **path);
    if (!*text || !*path)
        return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for %lld paths", (long long)count);
    memcpy(*text, paths, size);
    for (size_t at = 0, i = 0; i < (size_t)count; i++, at += strlen(*text + at) + 1) (*path)[i] = at;
    return NNL_OK;
}

typedef struct pictures {
    nnl_supply base;
    nnl_context *ctx;
    nnl_image_options options;
    char *text;
    size_t *path; // where each begins in `text`
} pictures;

static nnl_status load_picture(const nnl_supply *supply, nnl_context *ctx, int64_t index,
                               nnl_sample *sample) {
    const pictures *p = (const pictures *)supply;
    nnl_tensor *t = nnl_image_load(ctx, p->text + p->path[index], &p->options);
    if (!t) return ctx->status;
    *sample = (nnl_sample){t->dtype, t->shape, nnl_tensor_data(t), t};
    return NNL_OK;
}

static const char *picture_name(const nnl_supply *supply, int64_t index) {
    const pictures *p = (const pictures *)supply;
    return p->text + p->path[index];
}

static void free_pictures(nnl_supply *supply) {
    pictures *p = (pictures *)supply;
    nnl_context *ctx = p->ctx;
    nnl_free(&ctx->allocator, p->text);
    nnl_free(&ctx->allocator, p->path);
    nnl_supply_end(supply, ctx);
}

nnl_supply *nnl_supply_pictures(nnl_context *ctx, const char *paths, size_t size, int64_t count,
                                const nnl_image_options *options) {
    static const nnl_supply_class class = {load_picture, free_pictures, picture_name, NULL};
    pictures *p = nnl_supply_begin(ctx, sizeof *p, &class, count);
    if (!p) return NULL;
    p->ctx = ctx;
    p->options = *options;
    if (nnl_supply_paths(ctx, paths, size, count, &p->text, &p->path) == NNL_OK) return &p->base;
    free_pictures(&p->base);
    return NULL;
}

// ---- several

typedef struct joined {
    nnl_supply base;
    nnl_context *ctx;
    int64_t parts;
    nnl_supply **part;
} joined;

static nnl_status load_joined(const nnl_supply *supply, nnl_context *ctx, int64_t index, nnl_sample *sample) {
    const joined *j = (const joined *)supply;
    int64_t k = 0;
    for (; index >= j->part[k]->count; k++) index -= j->part[k]->count;
    return j->part[k]->class->load(j->part[k], ctx, index, sample);
}

static const char *joined_name(const nnl_supply *supply, int64_t index) {
    const joined *j = (const joined *)supply;
    int64_t k = 0;
    for (; index >= j->part[k]->count; k++) index -= j->part[k]->count;
    return j->part[k]->class->name ? j->part[k]->class->name(j->part[k], index) : NULL;
}

static void free_joined(nnl_supply *supply) {
    joined *j = (joined *)supply;
    nnl_context *ctx = j->ctx;
    for (int64_t k = 0; k < j->parts; k++) nnl_supply_release(j->part[k]);
    nnl_free(&ctx->allocator, j->part);
    nnl_supply_end(supply, ctx);
}

nnl_supply *nnl_supply_joined(nnl_context *ctx, nnl_supply *const *part, int64_t count) {
    static const nnl_supply_class class = {load_joined, free_joined, joined_name, NULL};
    joined *j = nnl_supply_begin(ctx, sizeof *j, &class, 0);
    if (!j) return NULL;
    j->ctx = ctx;
    j->part = nnl_alloc(&ctx->allocator, (size_t)count * sizeof *j->part);
    if (!j->part) {
        free_joined(&j->base);
        return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a source of samples");
    }
    for (; j->parts < count; j->parts++) {
        j->part[j->parts] = nnl_supply_retain(part[j->parts]);
        j->base.count += part[j->parts]->count;
    }
    return &j->base;
}
