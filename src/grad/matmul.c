// matmul.c: products of vectors, matrices and batches of them, over kernel/gemm.h.
#include "grad/product.h"
#include "grad/records.h"

#include <math.h>
#include <string.h>

typedef struct mm_state {
    bool transpose_a, transpose_b;
} mm_state;

// How the last two dimensions lie in memory; false where neither has stride 1.
static bool matrix_of(const nnl_tensor *t, bool transposed, nnl_matrix *matrix) {
    int rows = t->shape.ndim - 2, columns = t->shape.ndim - 1;
    int64_t height = t->shape.size[rows], width = t->shape.size[columns];
    int64_t down = t->stride[rows], right = t->stride[columns];
    bool row_major = (right == 1 || width == 1) && (down >= width || height == 1);
    bool column_major = (down == 1 || height == 1) && (right >= height || width == 1);
    if (!row_major && !column_major) return false;
    int64_t ld = row_major ? (height == 1 ? width : down) : (width == 1 ? height : right);
    *matrix = (nnl_matrix){nnl_tensor_data(t), (size_t)(ld > 0 ? ld : 1), transposed != !row_major};
    return true;
}

// The distance between the matrices of a batch, where it is the same for all of them.
static bool batch_stride(const nnl_tensor *t, size_t *stride) {
    int last = t->shape.ndim - 3;
    int64_t step = 0, run = 1;
    for (int d = last; d >= 0; d--) {
        if (t->shape.size[d] == 1) continue;
        if (run == 1) step = t->stride[d];
        if (run > 1 && t->stride[d] != step * run) return false;
        run *= t->shape.size[d];
    }
    *stride = (size_t)step;
    return true;
}

// A tensor that gemm can read: itself, or a contiguous copy. Returns new.
static nnl_tensor *readable(nnl_context *ctx, nnl_tensor *t, bool transposed, nnl_matrix *matrix,
                            size_t *stride) {
    if (matrix_of(t, transposed, matrix) && batch_stride(t, stride)) return nnl_tensor_retain(t);
    nnl_tensor *copy = nnl_tensor_new(ctx, t->dtype, &t->shape);
    if (!copy) return NULL;
    nnl_try_copy(copy, t);
    matrix_of(copy, transposed, matrix);
    batch_stride(copy, stride);
    return copy;
}

static nnl_status check_dtypes(nnl_context *ctx, const char *who, const nnl_tensor *a, const nnl_tensor *b) {
    if (a->dtype != b->dtype) {
        return nnl_fail(ctx, NNL_ERR_DTYPE,
                        "%s: expected tensors of one dtype, got %s and %s; convert one with to()", who,
                        nnl_dtype_get(a->dtype)->name, nnl_dtype_get(b->dtype)->name);
    }
    return NNL_OK;
}

static nnl_status shapes_differ(nnl_context *ctx, const char *who, const nnl_tensor *a, const nnl_tensor *b,
                                int64_t inner_a, int64_t inner_b) {
    char left[NNL_SHAPE_TEXT], right[NNL_SHAPE_TEXT];
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: cannot multiply %s by %s: the inner sizes %lld and %lld differ",
                    who, nnl_shape_text(&a->shape, left), nnl_shape_text(&b->shape, right),
                    (long long)inner_a, (long long)inner_b);
}

// ---- mm: c (..., m, n) = a b of batches with equal batch shapes, either transposed on the way

static int64_t rows_of(const nnl_tensor *t, bool transposed) {
    return t->shape.size[t->shape.ndim - (transposed ? 1 : 2)];
}

static int64_t columns_of(const nnl_tensor *t, bool transposed) {
    return t->shape.size[t->shape.ndim - (transposed ? 2 : 1)];
}

// Types without a product of their own go through a wider one: float16 through float32, integers, which wrap
// around, through int64.
static nnl_dtype product_dtype(nnl_dtype dtype) {
    if (nnl_dtype_get(dtype)->compute == NNL_IN_INT) return NNL_INT64;
    return dtype == NNL_FLOAT64 || dtype == NNL_BFLOAT16 ? dtype : NNL_FLOAT32;
}

// Products of bfloat16 are in float32; of other types their own.
static nnl_tensor *multiply(nnl_context *ctx, nnl_tensor *a, bool ta, nnl_tensor *b, bool tb) {
    nnl_shape shape = a->shape;
    nnl_matrix left, right;
    size_t stride_a, stride_b;
    shape.size[shape.ndim - 2] = rows_of(a, ta);
    shape.size[shape.ndim - 1] = columns_of(b, tb);
    nnl_tensor *x = readable(ctx, a, ta, &left, &stride_a);
    nnl_tensor *y = x ? readable(ctx, b, tb, &right, &stride_b) : NULL;
    bool half = a->dtype == NNL_BFLOAT16;
    nnl_tensor *out = y ? nnl_tensor_new(ctx, half ? NNL_FLOAT32 : a->dtype, &shape) : NULL;
    if (out) {
        nnl_product_type type = half ? NNL_PRODUCT_HALF : nnl_product_of(ctx, nnl_tensor_compute(a));
        size_t m = (size_t)rows_of(a, ta), n = (size_t)columns_of(b, tb), k = (size_t)columns_of(a, ta),
               batch = 1;
        for (int d = 0; d < shape.ndim - 2; d++) batch *= (size_t)shape.size[d];
        nnl_gemm_batched(ctx->kernels, ctx->pool, type, batch, m, n, k, 1, left, stride_a, right, stride_b, 0,
                         nnl_tensor_data(out), n > 0 ? n : 1, m * n);
    }
    nnl_tensor_release(x);
    nnl_tensor_release(y);
    return out;
}

// t itself, or a copy of that dtype, outside of the graph. Takes t, which may be NULL; returns new.
static nnl_tensor *cast(nnl_context *ctx, nnl_tensor *t, nnl_dtype dtype) {
    if (!t || t->dtype == dtype) return t;
    nnl_tensor *copy = nnl_tensor_new(ctx, dtype, &t->shape);
    if (copy) nnl_try_copy(copy, t);
    nnl_tensor_release(t);
    return copy;
}

static nnl_tensor *multiply_any(nnl_context *ctx, nnl_tensor *a, bool ta, nnl_tensor *b, bool tb) {
    nnl_dtype dtype = product_dtype(a->dtype);
    nnl_tensor *x = cast(ctx, nnl_tensor_retain(a), dtype),
               *y = x ? cast(ctx, nnl_tensor_retain(b), dtype) : NULL;
    nnl_tensor *out = y ? cast(ctx, multiply(ctx, x, ta, y, tb), a->dtype) : NULL;
    nnl_tensor_release(x);
    nnl_tensor_release(y);
    return out;
}

static nnl_status mm_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    const mm_state *s = node->state;
    nnl_tensor *a = nnl_node_saved(node, 0), *b = nnl_node_saved(node, 1);
    if (nnl_node_needs(node, 0)) {
        dx[0] = s->transpose_a ? nnl_mm(ctx, b, s->transpose_b, dout[0], true)
                               : nnl_mm(ctx, dout[0], false, b, !s->transpose_b);
        if (!dx[0]) return ctx->status;
    }
    if (nnl_node_needs(node, 1)) {
        dx[1] = s->transpose_b ? nnl_mm(ctx, dout[0], true, a, s->transpose_a)
                               : nnl_mm(ctx, a, !s->transpose_a, dout[0], false);
        if (!dx[1]) return ctx->status;
    }
    return NNL_OK;
}

static const nnl_op mm_record = {.name = "matmul", .outputs = 1, .backward = mm_backward};

nnl_tensor *nnl_mm(nnl_context *ctx, nnl_tensor *a, bool transpose_a, nnl_tensor *b, bool transpose_b) {
    if (columns_of(a, transpose_a) != rows_of(b, transpose_b)) {
        shapes_differ(ctx, "matmul", a, b, columns_of(a, transpose_a), rows_of(b, transpose_b));
        return NULL;
    }
    nnl_tensor *out = multiply_any(ctx, a, transpose_a, b, transpose_b);
    if (!out) return NULL;
    mm_state state = {transpose_a, transpose_b};
    bool wants_a = nnl_requires_grad(a), wants_b = nnl_requires_grad(b);
    nnl_status status = nnl_record(ctx, &(nnl_recording){.op = &mm_record,
                                                         .n_inputs = 2,
                                                         .inputs = (nnl_tensor *const[]){a, b},
                                                         .n_outputs = 1,
                                                         .outputs = &out,
                                                         .n_saved = 2,
                                                         .saved = {wants_b ? a : NULL, wants_a ? b : NULL},
                                                         .state = &state,
                                                         .state_size = sizeof state});
    if (status == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

// ---- matmul: the cases of PyTorch's, as views around mm

// Takes x.
static nnl_tensor *expand_batch(nnl_context *ctx, nnl_tensor *x, const nnl_shape *batch) {
    nnl_shape shape = *batch;
    shape.size[shape.ndim++] = x->shape.size[x->shape.ndim - 2];
    shape.size[shape.ndim++] = x->shape.size[x->shape.ndim - 1];
    return nnl_shape_equal(&shape, &x->shape) ? nnl_tensor_retain(x) : nnl_expand(ctx, x, &shape);
}

static nnl_tensor *batched(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b) {
    nnl_shape batch_a = nnl_shape_of(a->shape.ndim - 2, a->shape.size);
    nnl_shape batch_b = nnl_shape_of(b->shape.ndim - 2, b->shape.size), batch;
    if (nnl_shape_broadcast(ctx, "matmul", &batch_a, &batch_b, &batch) != NNL_OK) {
        char ta[NNL_SHAPE_TEXT], tb[NNL_SHAPE_TEXT], sa[NNL_SHAPE_TEXT], sb[NNL_SHAPE_TEXT];
        return nnl_fail_null(ctx, NNL_ERR_SHAPE,
                             "matmul: cannot multiply %s by %s: the batches %s and %s do not broadcast",
                             nnl_shape_text(&a->shape, ta), nnl_shape_text(&b->shape, tb),
                             nnl_shape_text(&batch_a, sa), nnl_shape_text(&batch_b, sb));
    }
    nnl_tensor *x = expand_batch(ctx, a, &batch), *y = x ? expand_batch(ctx, b, &batch) : NULL;
    nnl_tensor *out = y ? nnl_mm(ctx, x, false, y, false) : NULL;
    nnl_tensor_release(x);
    nnl_tensor_release(y);
    return out;
}

// A batch times one matrix is one tall product.
static nnl_tensor *tall(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b) {
    nnl_shape shape = a->shape, flat = {.ndim = 2, .size = {1, a->shape.size[a->shape.ndim - 1]}};
    for (int d = 0; d < shape.ndim - 1; d++) flat.size[0] *= shape.size[d];
    shape.size[shape.ndim - 1] = b->shape.size[1];
    nnl_tensor *rows = nnl_reshape(ctx, a, &flat);
    nnl_tensor *product = rows ? nnl_mm(ctx, rows, false, b, false) : NULL;
    nnl_tensor *out = product ? nnl_reshape(ctx, product, &shape) : NULL;
    nnl_tensor_release(rows);
    nnl_tensor_release(product);
    return out;
}

static nnl_tensor *of_matrices(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b) {
    if (a->shape.ndim == 2 && b->shape.ndim == 2) return nnl_mm(ctx, a, false, b, false);
    return b->shape.ndim == 2 ? tall(ctx, a, b) : batched(ctx, a, b);
}

static nnl_status check_inner(nnl_context *ctx, const char *who, const nnl_tensor *a, const nnl_tensor *b) {
    if (a->shape.ndim == 0 || b->shape.ndim == 0) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected tensors with dimensions; use * for numbers", who);
    }
    int64_t inner_a = a->shape.size[a->shape.ndim - 1],
            inner_b = b->shape.size[b->shape.ndim > 1 ? b->shape.ndim - 2 : 0];
    return inner_a == inner_b ? NNL_OK : shapes_differ(ctx, who, a, b, inner_a, inner_b);
}

// Vectors become matrices of one row (or column), and that dimension goes again afterwards.
nnl_tensor *nnl_matmul(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b) {
    if (check_dtypes(ctx, "matmul", a, b) != NNL_OK || check_inner(ctx, "matmul", a, b) != NNL_OK)
        return NULL;
    bool row = a->shape.ndim == 1, column = b->shape.ndim == 1;
    if (!row && !column) return of_matrices(ctx, a, b);
    nnl_tensor *x = row ? nnl_unsqueeze(ctx, a, 0) : nnl_tensor_retain(a);
    nnl_tensor *y = x ? (column ? nnl_unsqueeze(ctx, b, 1) : nnl_tensor_retain(b)) : NULL;
    nnl_tensor *out = y ? of_matrices(ctx, x, y) : NULL;
    nnl_tensor_release(x);
    nnl_tensor_release(y);
    nnl_shape shape = {.ndim = 0};
    for (int d = 0; out && d < out->shape.ndim; d++) {
        if ((column && d == out->shape.ndim - 1) || (row && d == out->shape.ndim - 2)) continue;
        shape.size[shape.ndim++] = out->shape.size[d];
    }
    nnl_tensor *squeezed = out ? nnl_reshape(ctx, out, &shape) : NULL;
    nnl_tensor_release(out);
    return squeezed;
}

static nnl_status matmul_forward(nnl_context *ctx, nnl_call *call) {
    call->out[0] = nnl_matmul(ctx, call->arg[0].tensor, call->arg[1].tensor);
    return call->out[0] ? NNL_OK : ctx->status;
}

// Operations that are matmul with a check of dimensions: variant is ndim of a times 10 plus ndim of b.
static nnl_status fixed_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_tensor *a = call->arg[0].tensor, *b = call->arg[1].tensor;
    char left[NNL_SHAPE_TEXT], right[NNL_SHAPE_TEXT];
    if (a->shape.ndim != call->op->variant / 10 || b->shape.ndim != call->op->variant % 10) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected %d and %d dimensions, got shapes %s and %s",
                        call->op->name, call->op->variant / 10, call->op->variant % 10,
                        nnl_shape_text(&a->shape, left), nnl_shape_text(&b->shape, right));
    }
    if (a->shape.ndim == 3 && a->shape.size[0] != b->shape.size[0]) {
        return nnl_fail(ctx, NNL_ERR_SHAPE,
                        "%s: expected as many matrices on both sides, got shapes %s and %s", call->op->name,
                        nnl_shape_text(&a->shape, left), nnl_shape_text(&b->shape, right));
    }
    return matmul_forward(ctx, call);
}

// The product of every pair of elements.
static nnl_status outer_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *a = call->arg[0].tensor, *b = call->arg[1].tensor;
    if (a->shape.ndim != 1 || b->shape.ndim != 1)
        return nnl_fail(ctx, NNL_ERR_SHAPE, "outer: expected two vectors");
    nnl_tensor *column = nnl_unsqueeze(ctx, a, 1);
    call->out[0] = column ? nnl_mul(ctx, column, b) : NULL;
    nnl_tensor_release(column);
    return call->out[0] ? NNL_OK : ctx->status;
}

// In the dtype of x, as an integer times a number of Lua's would not be.
static nnl_tensor *scaled_by(nnl_context *ctx, nnl_tensor *x, double number) {
    if (number == 1) return nnl_tensor_retain(x);
    if (nnl_dtype_is_float(x->dtype)) return nnl_mul_number(ctx, x, number);
    nnl_tensor *scale = nnl_tensor_new(ctx, x->dtype, &(nnl_shape){.ndim = 0});
    if (scale) nnl_try_fill(scale, nnl_number_float(number));
    nnl_tensor *out = scale ? nnl_mul(ctx, x, scale) : NULL;
    nnl_tensor_release(scale);
    return out;
}

static nnl_status check_scale(nnl_context *ctx, const nnl_call *call, int arg) {
    const nnl_tensor *x = call->arg[1].tensor;
    double number = call->arg[arg].number.d;
    if (nnl_dtype_is_float(x->dtype) || number == floor(number)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_ARGUMENT, "addmm: expected a whole number as %s for tensors of %s, got %g",
                    call->op->params[arg].name, nnl_dtype_get(x->dtype)->name, number);
}

// beta * input + alpha * a b
static nnl_status addmm_forward(nnl_context *ctx, nnl_call *call) {
    for (int arg = 3; arg <= 4; arg++) {
        if (check_scale(ctx, call, arg) != NNL_OK) return ctx->status;
    }
    nnl_tensor *product = nnl_matmul(ctx, call->arg[1].tensor, call->arg[2].tensor);
    nnl_tensor *scaled = product ? scaled_by(ctx, product, call->arg[4].number.d) : NULL;
    nnl_tensor *input = scaled ? scaled_by(ctx, call->arg[0].tensor, call->arg[3].number.d) : NULL;
    call->out[0] = input ? nnl_add(ctx, input, scaled) : NULL;
    nnl_tensor_release(product);
    nnl_tensor_release(scaled);
    nnl_tensor_release(input);
    return call->out[0] ? NNL_OK : ctx->status;
}

#define TENSOR(name)                                                                                         \
    { name, NNL_ARG_TENSOR, false, 0, NULL }
#define PRODUCT(n, text, second, go, kind)                                                                   \
    {                                                                                                        \
        .name = n, .doc = text, .flags = NNL_OP_METHOD | NNL_OP_FUNCTION, .outputs = 1,                      \
        .params = {TENSOR("input"), TENSOR(second)}, .forward = go, .variant = kind                          \
    }

const nnl_op nnl_matmul_records[] = {
    PRODUCT("matmul", "the product of vectors, matrices, or batches of matrices, which broadcast", "other",
            matmul_forward, 0),
    PRODUCT("mm", "the product of two matrices", "mat2", fixed_forward, 22),
    PRODUCT("mv", "a matrix times a vector", "vec", fixed_forward, 21),
    PRODUCT("bmm", "the products of two batches of matrices (B, n, m) and (B, m, p)", "mat2", fixed_forward,
            33),
    PRODUCT("dot", "the sum of the products of two vectors", "other", fixed_forward, 11),
    PRODUCT("outer", "the products of all pairs of elements of two vectors", "vec2", outer_forward, 0),
    {.name = "addmm",
     .doc = "beta * input + alpha * mat1 mat2",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {TENSOR("input"),
                TENSOR("mat1"),
                TENSOR("mat2"),
                {"beta", NNL_ARG_NUMBER, true, 1, NULL},
                {"alpha", NNL_ARG_NUMBER, true, 1, NULL}},
     .forward = addmm_forward},
    {.name = NULL},
};
