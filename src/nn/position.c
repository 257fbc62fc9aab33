// position.c: where in a sequence an element is: PositionalEncoding (Vaswani et al. 2017) and RotaryEmbedding
// (Su et al. 2021). Both look up tables of sines and cosines, made once for as many positions as were seen.
#include "nn/position.h"
#include "nn/classes.h"
#include "tensor/apply.h"

#include <math.h>

#define TURN 6.283185307179586

double nnl_rotary_period(const nnl_rotary *r, int64_t pair) {
    double period = pow(r->base, (double)(2 * pair) / (double)r->dim), slow = period * r->factor;
    if (r->original <= 0) return slow;
    double turns = r->original / (TURN * period);
    if (turns >= r->high || turns <= r->low) return turns >= r->high ? period : slow;
    double share = (turns - r->low) / (r->high - r->low);
    return 1 / ((1 - share) / slow + share / period);
}

// A table: row p (from 0) holds a sine and a cosine of p / period for pairs 0, 1, ...
typedef struct table_form {
    int64_t size; // of a row
    nnl_rotary rotary;
    bool cosines_first;
} table_form;

static void fill_column(const table_form *form, int64_t column, int64_t rows, double *out) {
    double period = nnl_rotary_period(&form->rotary, column / 2);
    bool cosine = (column % 2 == 0) == form->cosines_first;
    for (int64_t row = 0; row < rows; row++) {
        double angle = (double)row / period;
        out[row * form->size] = cosine ? cos(angle) : sin(angle);
    }
}

static nnl_tensor *table_new(nnl_context *ctx, const table_form *form, int64_t rows, nnl_dtype dtype) {
    nnl_tensor *exact = nnl_tensor_new(ctx, NNL_FLOAT64, &(nnl_shape){2, {rows, form->size}});
    nnl_tensor *table = exact ? nnl_tensor_new(ctx, dtype, &exact->shape) : NULL;
    for (int64_t column = 0; table && column < form->size; column++)
        fill_column(form, column, rows, (double *)nnl_tensor_data(exact) + column);
    if (table) nnl_apply_copy(table, exact);
    nnl_tensor_release(exact);
    return table;
}

// Rows first to first + rows - 1 of the layer's table, which grows by doubling. Returns new.
static nnl_tensor *table_rows(nnl_context *ctx, nnl_layer *layer, const table_form *form, int64_t first,
                              int64_t rows, nnl_dtype dtype) {
    nnl_tensor *table = layer->table;
    if (!table || table->dtype != dtype || table->shape.size[0] < first + rows ||
        table->shape.size[1] != form->size) {
        int64_t wanted = 64;
        while (wanted < first + rows) wanted *= 2;
        nnl_tensor *fresh = table_new(ctx, form, wanted, dtype);
        if (!fresh) return NULL;
        nnl_tensor_release(table);
        layer->table = table = fresh;
    }
    return nnl_slice(ctx, table, 0, first, rows, 1);
}

nnl_tensor *nnl_rotary_rows(nnl_context *ctx, nnl_layer *layer, const nnl_rotary *rotary, int64_t first,
                            int64_t rows, nnl_dtype dtype) {
    table_form form = {.size = rotary->dim, .rotary = *rotary, .cosines_first = true};
    return table_rows(ctx, layer, &form, first, rows, dtype);
}

// ---- PositionalEncoding

enum { DIM, MAX_LENGTH, DROPOUT };

static nnl_status check_sequence(nnl_context *ctx, const nnl_layer *layer, const nnl_tensor *x) {
    char got[NNL_SHAPE_TEXT];
    int ndim = x->shape.ndim;
    long long dim = (long long)layer->option[DIM].i, most = (long long)layer->option[MAX_LENGTH].i;
    if (ndim < 2 || x->shape.size[ndim - 1] != dim) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.PositionalEncoding: expected input (*, T, %lld), got %s", dim,
                        nnl_shape_text(&x->shape, got));
    }
    if (!nnl_dtype_is_float(x->dtype)) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "nn.PositionalEncoding: expected input of a float dtype, got %s",
                        nnl_dtype_get(x->dtype)->name);
    }
    if (layer->call[0].i + x->shape.size[ndim - 2] <= most) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.PositionalEncoding: max_len is %lld, got input %s at offset %lld",
                    most, nnl_shape_text(&x->shape, got), (long long)layer->call[0].i);
}

// x + (sin(p), cos(p), sin(p / 10000^(2 / dim)), ...) for position p
static nnl_status encoding_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                   nnl_tensor **out) {
    nnl_tensor *x = inputs[0];
    nnl_status status = check_sequence(ctx, layer, x);
    if (status != NNL_OK) return status;
    table_form form = {.size = layer->option[DIM].i,
                       .rotary = {.dim = layer->option[DIM].i, .base = 10000, .factor = 1}};
    nnl_tensor *rows =
        table_rows(ctx, layer, &form, layer->call[0].i, x->shape.size[x->shape.ndim - 2], x->dtype);
    nnl_tensor *sum = rows ? nnl_add(ctx, x, rows) : NULL;
    double p = layer->training ? layer->option[DROPOUT].d : 0;
    *out = sum && p > 0 ? nnl_dropout(ctx, sum, p) : sum;
    if (*out != sum) nnl_tensor_release(sum);
    nnl_tensor_release(rows);
    return *out ? NNL_OK : ctx->status;
}

// ---- RotaryEmbedding

enum { ROTARY_DIM, BASE, INTERLEAVED };

static nnl_status rotary_check(nnl_context *ctx, const nnl_layer *layer) {
    int64_t dim = layer->option[ROTARY_DIM].i;
    if (dim % 2 == 0) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_ARGUMENT, "nn.RotaryEmbedding: option 'dim' must be even, got %lld",
                    (long long)dim);
}

static nnl_status rotary_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                 nnl_tensor **out) {
    char got[NNL_SHAPE_TEXT];
    nnl_tensor *x = inputs[0];
    int ndim = x->shape.ndim;
    int64_t dim = layer->option[ROTARY_DIM].i;
    if (ndim < 2 || x->shape.size[ndim - 1] != dim) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.RotaryEmbedding: expected input (N, heads, T, %lld), got %s",
                        (long long)dim, nnl_shape_text(&x->shape, got));
    }
    if (!nnl_dtype_is_float(x->dtype)) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "nn.RotaryEmbedding: expected input of a float dtype, got %s",
                        nnl_dtype_get(x->dtype)->name);
    }
    nnl_rotary rotary = {.dim = dim, .base = layer->option[BASE].d, .factor = 1};
    nnl_dtype dtype = x->dtype == NNL_FLOAT64 ? NNL_FLOAT64 : NNL_FLOAT32;
    nnl_tensor *turns =
        nnl_rotary_rows(ctx, layer, &rotary, layer->call[0].i, x->shape.size[ndim - 2], dtype);
    *out = turns ? nnl_rotate(ctx, x, turns, layer->option[INTERLEAVED].i != 0) : NULL;
    nnl_tensor_release(turns);
    return *out ? NNL_OK : ctx->status;
}

// ---- records

static const nnl_option call_options[] = {{.name = "offset",
                                           .type = NNL_OPTION_INT,
                                           .high = 1 << 30,
                                           .doc = "positions before the first of the input"},
                                          {.name = NULL}};

#define SIZE(n, text)                                                                                        \
    {                                                                                                        \
        .name = n, .type = NNL_OPTION_INT, .positional = true, .required = true, .low = 1, .high = INFINITY, \
        .doc = text                                                                                          \
    }

const nnl_layer_class nnl_position_classes[] = {
    {.name = "PositionalEncoding",
     .doc = "Adds sines and cosines of each position to (*, T, dim), then dropout (Vaswani et al. 2017)",
     .inputs = 1,
     .call = call_options,
     .options = {[DIM] = SIZE("dim", "size of each vector"),
                 [MAX_LENGTH] = {.name = "max_len",
                                 .type = NNL_OPTION_INT,
                                 .fallback = {5000},
                                 .low = 1,
                                 .high = 1 << 30,
                                 .doc = "most positions"},
                 [DROPOUT] = {.name = "dropout",
                              .type = NNL_OPTION_NUMBER,
                              .fallback = {0.1},
                              .low = 0,
                              .high = 1,
                              .doc = "probability of a 0 while training"}},
     .forward = encoding_forward},
    {.name = "RotaryEmbedding",
     .doc =
         "Rotates pairs of queries or keys (N, heads, T, dim) by angles that grow with the position, so that "
         "their products depend on its difference (Su et al. 2021)",
     .inputs = 1,
     .call = call_options,
     .options = {[ROTARY_DIM] = SIZE("dim", "size of each vector, even"),
                 [BASE] = {.name = "base",
                           .type = NNL_OPTION_NUMBER,
                           .fallback = {10000},
                           .low = 0,
                           .high = INFINITY,
                           .exclusive_low = true,
                           .doc = "pair k turns by position / base^(2 k / dim)"},
                 [INTERLEAVED] = {.name = "interleaved",
                                  .type = NNL_OPTION_BOOL,
                                  .doc =
                                      "whether pairs are neighbours; by default k and k + dim / 2 are one"}},
     .check = rotary_check,
     .forward = rotary_forward},
    {.name = NULL},
};
