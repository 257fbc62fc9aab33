// orthogonal.c: random matrices with orthonormal rows: normal vectors, made orthogonal by Gram and Schmidt's
// method in double, each block of vectors twice against all before it.
#include "kernel/gemm.h"
#include "nn/init.h"
#include "tensor/apply.h"

#include <math.h>

#define BLOCK 32

// `count` vectors of `length`, one after the other.
typedef struct basis {
    size_t count, length;
    double *vectors;
    double *products; // room for count * BLOCK
} basis;

static double dot(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

// Takes from vectors at .. at + n what they have in common with those before `at`.
static void remove_earlier(const nnl_context *ctx, const basis *q, size_t at, size_t n) {
    double *block = q->vectors + at * q->length;
    nnl_gemm(ctx->kernels, ctx->pool, NNL_PRODUCT_DOUBLE, n, at, q->length, 1,
             (nnl_matrix){block, q->length, false}, (nnl_matrix){q->vectors, q->length, true}, 0, q->products,
             at);
    nnl_gemm(ctx->kernels, ctx->pool, NNL_PRODUCT_DOUBLE, n, q->length, at, -1,
             (nnl_matrix){q->products, at, false}, (nnl_matrix){q->vectors, q->length, false}, 1, block,
             q->length);
}

// The same within the block, and each to length 1.
static void orthonormalize_block(const basis *q, size_t at, size_t n) {
    for (size_t i = at; i < at + n; i++) {
        double *v = q->vectors + i * q->length;
        for (size_t j = at; j < i; j++) {
            const double *u = q->vectors + j * q->length;
            double shared = dot(u, v, q->length);
            for (size_t k = 0; k < q->length; k++) v[k] -= shared * u[k];
        }
        double norm = sqrt(dot(v, v, q->length));
        for (size_t k = 0; k < q->length; k++) v[k] /= norm;
    }
}

static void orthonormalize(const nnl_context *ctx, const basis *q) {
    for (size_t at = 0; at < q->count && !nnl_pool_stops(ctx->pool); at += BLOCK) {
        size_t n = q->count - at < BLOCK ? q->count - at : BLOCK;
        for (int pass = 0; pass < 2; pass++) {
            if (at > 0) remove_earlier(ctx, q, at, n);
            orthonormalize_block(q, at, n);
        }
    }
}

// Writes gain times the basis to t, seen as a matrix (rows, cols), transposed where it has more rows.
static nnl_status write_basis(nnl_context *ctx, nnl_tensor *t, const basis *q, size_t cols, double gain) {
    nnl_tensor *values = nnl_tensor_new(ctx, NNL_FLOAT64, &t->shape);
    if (!values) return ctx->status;
    double *out = nnl_tensor_data(values);
    bool wide = q->length == cols;
    for (size_t i = 0; i < q->count; i++) {
        for (size_t k = 0; k < q->length; k++) {
            out[wide ? i * cols + k : k * cols + i] = gain * q->vectors[i * q->length + k];
        }
    }
    nnl_apply_copy(t, values);
    nnl_tensor_changed(t);
    nnl_tensor_release(values);
    return NNL_OK;
}

nnl_status nnl_init_orthogonal(nnl_context *ctx, nnl_tensor *t, double gain) {
    double fan_in, fan_out;
    nnl_status status = nnl_init_fans(ctx, "orthogonal", t, &fan_in, &fan_out);
    size_t numel = (size_t)nnl_tensor_numel(t);
    if (status != NNL_OK || numel == 0) return status;
    size_t rows = (size_t)t->shape.size[0], cols = numel / rows;
    basis q = {.count = rows < cols ? rows : cols, .length = rows < cols ? cols : rows};
    nnl_tensor *vectors = nnl_tensor_new(ctx, NNL_FLOAT64, &(nnl_shape){1, {(int64_t)numel}});
    nnl_tensor *products = nnl_tensor_new(ctx, NNL_FLOAT64, &(nnl_shape){1, {(int64_t)(q.count * BLOCK)}});
    status = vectors && products ? nnl_init_normal(ctx, vectors, 0, 1) : ctx->status;
    if (status == NNL_OK) {
        q.vectors = nnl_tensor_data(vectors);
        q.products = nnl_tensor_data(products);
        orthonormalize(ctx, &q);
        status = write_basis(ctx, t, &q, cols, gain);
    }
    nnl_tensor_release(vectors);
    nnl_tensor_release(products);
    return status;
}
